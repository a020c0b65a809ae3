"""Keep what a run finds, in memory and, from the first second on, on disk.

Two files in the report directory, each for one kind of end. ``results.jsonl`` gets one line the
moment a requirement is judged. ``report.json`` is the whole record, replaced in one step at
least once a second while results come: whatever kills the run, a readable report is left. A run
that comes to its end draws ``report.html`` of it.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.directory import (
    PAGE_NAME,
    REPORT_NAME,
    RESULTS_NAME,
    ReportDirectory,
)
from pytest_qwenvl.report.evidence import Redactor
from pytest_qwenvl.report.results import EngineRecord, NotRun, Result, RunRecord, Undecided
from pytest_qwenvl.report.verdict import Claim, judge_run

WRITE_INTERVAL = 1.0
"""Seconds: the most that ``report.json`` lags behind what was recorded."""

_TABLES = frozenset({"host", "versions", "profiles"})
_INTERRUPTED_STATUS = {
    2: "pytest was interrupted",
    3: "pytest ended with an internal error",
    4: "pytest ended with a usage error",
}


class Cancellable(Protocol):
    """What ``call_later`` hands out."""

    def cancel(self) -> None:
        """Forget the call, if it has not begun."""


def _timer(delay: float, call: Callable[[], None]) -> Cancellable:
    timer = threading.Timer(delay, call)
    timer.daemon = True
    timer.start()
    return timer


class RunRecorder:
    """Collects a run's results on the controller and keeps its report up to date.

    Thread-safe. Once it exists, no trouble with the disk raises: the run goes on, ``warn`` is
    called once, the last report that could be written stays, and ``problem`` says what happened.

    Args:
        record: the run as known at its start.
        directory: where the report goes, a folder or one that is held already; None keeps
            everything in memory.
        header: what the first line of ``results.jsonl`` says beside which run it is of, as JSON
            values: what a later run needs to go on from it.
        secrets: values that must not appear in any report (an endpoint's key).
        warn: takes the one warning line.
        clock: seconds, monotonic; ``wall``: seconds since the epoch.
        call_later: runs a call after some seconds, on any thread.

    Raises:
        UsageProblem: the directory cannot be written; nothing was started.
    """

    def __init__(
        self,
        record: RunRecord,
        directory: Path | ReportDirectory | None = None,
        *,
        header: Mapping[str, Any] | None = None,
        secrets: Iterable[str] = (),
        warn: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        call_later: Callable[[float, Callable[[], None]], Cancellable] = _timer,
    ) -> None:
        self.redactor = Redactor(secrets)
        self._warn = warn
        self._clock = clock
        self._wall = wall
        self._call_later = call_later
        self._lock = threading.RLock()
        self._record = record.model_copy(
            update={
                "argv": self.redactor.argv(record.argv),
                "scope": self.redactor.text(record.scope),
                **{name: self.redactor.value(getattr(record, name)) for name in _TABLES},
            }
        )
        self._planned = dict.fromkeys(record.planned)
        self._not_run = list(record.not_run)
        self._notes = dict.fromkeys(map(self.redactor.text, record.notes))
        self._undecided = list(record.undecided)
        self._engines = [self.redactor.engine(engine) for engine in record.engines]
        self._results = [self.redactor.result(result) for result in record.results]
        self._unwritten_lines: list[str] = []
        self._pending: Cancellable | None = None
        self._written_at = self._clock()
        self._warned = False
        self._closed = False
        self.problem = ""
        self._page_path: Path | None = None
        self._directory: ReportDirectory | None = None
        if directory is not None:
            if isinstance(directory, Path):
                directory = ReportDirectory(directory)
            self._directory = directory
            self._begin(header or {})

    @property
    def report_path(self) -> Path | None:
        """Where ``report.json`` lies; None without a report directory."""
        return self._directory.path / REPORT_NAME if self._directory else None

    @property
    def page_path(self) -> Path | None:
        """Where ``report.html`` lies; None until the run ended and its page was drawn."""
        return self._page_path

    def snapshot(self) -> RunRecord:
        """The run as known now, judged."""
        with self._lock:
            return judge_run(
                self._record.model_copy(
                    update={
                        "planned": list(self._planned),
                        "not_run": list(self._not_run),
                        "notes": list(self._notes),
                        "undecided": list(self._undecided),
                        "engines": list(self._engines),
                        "results": list(self._results),
                    }
                )
            )

    def plan(self, claims: Iterable[tuple[str, str, str]]) -> None:
        """Add (model, deployment, requirement) that the run sets out to judge."""
        with self._lock:
            self._planned.update(dict.fromkeys(str(Claim(*claim)) for claim in claims))
            self._changed()

    def add_not_run(self, entry: NotRun) -> None:
        """Add a model or a deployment that the run leaves out."""
        with self._lock:
            self._not_run.append(entry)
            self._changed()

    def add_undecided(self, entry: Undecided) -> None:
        """Add what an attached server cannot be asked; a known entry changes nothing."""
        with self._lock:
            if entry not in self._undecided:
                self._undecided.append(entry)
                self._changed()

    def add_note(self, note: str) -> None:
        """Add what the run met on its host; the same note again changes nothing."""
        with self._lock:
            self._notes[self.redactor.text(note)] = None
            self._changed()

    def add_result(self, result: Result) -> None:
        """Add one result; its line is on disk when this returns, if the disk allows."""
        result = self.redactor.result(result)
        with self._lock:
            self._results.append(result)
            if self._directory is not None:
                self._unwritten_lines.append(result.model_dump_json())
                self._append_lines()
            self._changed()

    def add_engine(self, engine: EngineRecord) -> None:
        """Add an engine or measuring process that the run started."""
        engine = self.redactor.engine(engine)
        with self._lock:
            self._engines.append(engine)
            self._changed()

    def update(self, **fields: Any) -> None:
        """Set fields of the record that become known late (``versions``, ``host``, ``npus``).

        Tables (``host``, ``versions``, ``profiles``) gain the given keys and keep their others.

        Raises:
            ValueError: a name that no ``RunRecord`` has, or one that has a method of its own.
        """
        own = {"results", "engines", "not_run", "planned", "undecided", "notes"}
        allowed = set(RunRecord.model_fields) - own
        if unknown := sorted(set(fields) - allowed):
            raise ValueError(f"no such field to set: {', '.join(unknown)}")
        with self._lock:
            for name in fields.keys() & _TABLES:
                added = self.redactor.value(fields[name])
                fields[name] = {**getattr(self._record, name), **added}
            self._record = self._record.model_copy(update=fields)
            self._changed()

    def interrupt(self, reason: str) -> None:
        """Note why the run ends early; the first reason stays, and is on disk at once."""
        with self._lock:
            if not self._record.interrupted:
                reason = self.redactor.text(reason)
                self._record = self._record.model_copy(update={"interrupted": reason})
            self.flush()

    def finish(self, exit_status: int) -> RunRecord:
        """End the run: judge it, write the last report, and give the judged record.

        An exit status that means "ended early" counts as an interruption even when nobody
        called ``interrupt``. A second call changes nothing.
        """
        with self._lock:
            if self._closed:
                return self.snapshot()
            reason = self._record.interrupted or _INTERRUPTED_STATUS.get(int(exit_status), "")
            self._record = self._record.model_copy(
                update={
                    "finished": self._wall(),
                    "complete": True,
                    "exit_status": int(exit_status),
                    "interrupted": reason,
                }
            )
            self.flush()
            self._write_page()
            self._closed = True
            if self._directory is not None:
                self._directory.close()
            return self.snapshot()

    def flush(self) -> None:
        """Write ``report.json`` now."""
        with self._lock:
            if self._pending is not None:
                self._pending.cancel()
                self._pending = None
            if self._directory is None or self._closed:
                return
            self._append_lines()
            self._written_at = self._clock()
            try:
                self._directory.replace_report(self.snapshot().model_dump_json(indent=2))
            except OSError as error:
                self._note(error)
            else:
                if not self._unwritten_lines:
                    self.problem = ""

    def _write_page(self) -> None:
        """Draw ``report.html`` of the finished record."""
        if self._directory is None:
            return
        from pytest_qwenvl.report.html import render_page

        try:
            self._directory.replace_page(render_page(self.snapshot(), root=self._directory.path))
            self._page_path = self._directory.path / PAGE_NAME
        except Exception as error:
            # Whatever it is: hours of results must not be lost over a drawing of them.
            if self.problem:
                return
            self.problem = (
                f"{PAGE_NAME} could not be drawn ({type(error).__name__}: {error}); {REPORT_NAME} "
                "is whole, and `pytest-qwenvl report --html` draws the page of it"
            )
            self._warn(self.problem)

    def _begin(self, header: Mapping[str, Any]) -> None:
        assert self._directory is not None
        named = {
            **self.redactor.value(header),
            "schema_version": self._record.schema_version,
            "run_id": self._record.run_id,
            "started": self._record.started,
            "argv": self._record.argv,
            "pid": os.getpid(),
            "host": platform.node(),
        }
        lines = [json.dumps(named), *(result.model_dump_json() for result in self._results)]
        try:
            # In this order: whatever ends the run in between, no verdict of an earlier run stands
            # beside this one's record, and what an earlier one recorded is still there.
            self._directory.replace_report(self.snapshot().model_dump_json(indent=2))
            self._directory.begin_results(lines)
        except OSError as error:
            self._directory.close()
            raise UsageProblem(
                f"--conformance-report {self._directory.path}: cannot write {REPORT_NAME} and "
                f"{RESULTS_NAME} there: {error}; give a folder that can be written"
            ) from error

    def _changed(self) -> None:
        if self._directory is None or self._closed:
            return
        age = self._clock() - self._written_at
        if age >= WRITE_INTERVAL:
            self.flush()
        elif self._pending is None:
            self._pending = self._call_later(WRITE_INTERVAL - age, self.flush)

    def _append_lines(self) -> None:
        if self._directory is None or self._closed or not self._unwritten_lines:
            return
        try:
            self._directory.append_results(self._unwritten_lines)
        except OSError as error:
            self._note(error)
        else:
            self._unwritten_lines.clear()

    def _note(self, error: OSError) -> None:
        assert self._directory is not None
        self.problem = (
            f"the report in {self._directory.path} could not be written: {error.strerror or error}"
            f" ({os.path.basename(str(error.filename)) if error.filename else RESULTS_NAME});"
            " the last report that could be is still there, and later results are only here"
        )
        if not self._warned:
            self._warned = True
            self._warn(f"{self.problem}; the run goes on and tries again with each result")
