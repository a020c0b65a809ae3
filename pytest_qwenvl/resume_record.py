"""What an earlier run left in its report directory for a later one to go on from.

``results.jsonl`` alone is enough: its first line says what the run was and what its results rest
on, every other line is a result, on the disk before the next test began. Whatever ended the run,
at most its last line is cut off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from pytest_qwenvl import __version__
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.directory import REPORT_NAME, RESULTS_NAME
from pytest_qwenvl.report.results import SCHEMA_VERSION, ContinuedRun, Record, Result
from pytest_qwenvl.resume_inputs import RunInputs
from pytest_qwenvl.resume_workers import lines_of_workers

_TEST = re.compile(r'"test":("(?:[^"\\]|\\.)*")')


class RunHeader(Record):
    """The first line of ``results.jsonl``.

    Attributes:
        pid: the process that ran pytest; ``host``: where.
        continued: the runs before it, which it continued.
        continues: runs whose results it may take for its own, by deployment: the earlier attempts
            that were made with equal inputs.
        inputs: what its results rest on.
    """

    schema_version: Literal[1] = SCHEMA_VERSION  # type: ignore[assignment]
    run_id: str
    started: float
    argv: tuple[str, ...] = ()
    pid: int = 0
    host: str = ""
    continued: list[ContinuedRun] = Field(default_factory=list)
    continues: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    inputs: RunInputs


class EarlierRun(NamedTuple):
    """An earlier run as its record has it.

    Attributes:
        results: each once, in the order in which they came.
        damaged: tests of which a line cannot be read: what else it said of them is not known.
        notes: what was found wrong with the record, a sentence each.
    """

    header: RunHeader
    results: tuple[Result, ...]
    damaged: frozenset[str]
    notes: tuple[str, ...]


def check_resumable(directory: Path) -> None:
    """See that there is a record to go on from, before anything is written anywhere.

    Raises:
        UsageProblem: no such directory, or nothing in it that a run left.
    """
    if not directory.exists():
        raise UsageProblem(
            f"--resume {directory}: no such folder; give the report directory of the run to "
            "continue, or begin one with --conformance-report"
        )
    if not directory.is_dir():
        raise UsageProblem(
            f"--resume {directory}: is a file; give the report directory that it lies in"
        )
    if not (directory / RESULTS_NAME).is_file():
        seen = f"{REPORT_NAME} alone" if (directory / REPORT_NAME).exists() else "none"
        raise UsageProblem(
            f"--resume {directory}: no record of a run there: it has no {RESULTS_NAME} (seen: "
            f"{seen}); begin a run with --conformance-report={directory}"
        )


def read_earlier(directory: Path) -> EarlierRun:
    """The run whose report directory this is.

    A last line that was cut off is left out, and so is a line that stands there twice; both are
    named in the notes.

    Raises:
        UsageProblem: no record that can be read, one of another suite version, or one that was
            damaged elsewhere than at its end.
    """
    path = directory / RESULTS_NAME
    begin_anew = f"run from the beginning with --conformance-report={directory}"
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageProblem(f"--resume: {path}: cannot be read: {error.strerror}") from error
    first, *lines = text.split("\n")
    header = _header(path, first, begin_anew)
    last = lines.pop() if lines else ""
    found: dict[str, Result] = {}
    notes: list[str] = []
    repeated = 0
    for number, line in enumerate(lines, start=2):
        try:
            result = Result.model_validate_json(line)
        except ValidationError:
            if number == len(lines) + 1 and not last:
                # A file system may keep the end of a line and lose what came before it.
                last = line
                break
            raise UsageProblem(
                f"--resume: {path}: line {number} is no result, and it is not the last one: the "
                f"file was damaged or edited; remove that line to go on without it, or {begin_anew}"
            ) from None
        repeated += line in found
        found.setdefault(line, result)
    damaged = frozenset[str]()
    if last:
        match = _TEST.search(last)
        damaged = frozenset({json.loads(match[1])} if match else ())
        named = f" ({', '.join(damaged)})" if damaged else ""
        notes.append(
            f"{RESULTS_NAME} of run {header.run_id}: the last line was cut off after "
            f"{len(last.encode())} bytes and is left out; its test runs again{named}"
        )
    if repeated:
        notes.append(
            f"{RESULTS_NAME} of run {header.run_id}: {repeated} lines stand there twice and "
            "count once"
        )
    late, torn = _of_workers(directory, header.run_id, found.values())
    for name in torn:
        notes.append(f"{name} of run {header.run_id}: the last line was cut off and is left out")
    return EarlierRun(header, (*found.values(), *late), damaged, tuple(notes))


def _of_workers(
    directory: Path, run_id: str, known: Iterable[Result]
) -> tuple[list[Result], list[str]]:
    """Results that were on their way from a worker to the record, and files with a torn line."""
    seen = {(it.test, it.started, it.outcome) for it in known}
    late: list[Result] = []
    torn: list[str] = []
    for name, (*lines, last) in lines_of_workers(directory, run_id):
        for line in lines:
            try:
                result = Result.model_validate_json(line)
            except ValidationError:
                last = line
                break
            if (result.test, result.started, result.outcome) not in seen:
                late.append(result)
        if last:
            torn.append(name)
    return late, torn


def carried_in(directory: Path) -> tuple[RunHeader, list[Result]]:
    """What a resumed run took over from earlier ones, from the record that it began with.

    For its workers, which read while results of the run itself are being added.
    """
    with (directory / RESULTS_NAME).open(encoding="utf-8") as file:
        header = RunHeader.model_validate_json(file.readline())
        results = []
        for line in file:
            result = Result.model_validate_json(line) if line.endswith("\n") else None
            if result is None or result.carried_over is None:
                break
            results.append(result)
    return header, results


def _header(path: Path, line: str, begin_anew: str) -> RunHeader:
    try:
        content: Any = json.loads(line)
    except ValueError:
        content = None
    if not isinstance(content, dict) or not {"schema_version", "run_id"} <= content.keys():
        raise UsageProblem(
            f"--resume: {path}: no record of this suite: its first line does not say what run it "
            f"is of; {begin_anew}"
        )
    if content["schema_version"] != SCHEMA_VERSION:
        raise UsageProblem(
            f"--resume: {path}: schema version {content['schema_version']!r}; this suite goes on "
            f"from version {SCHEMA_VERSION} alone; {begin_anew}"
        )
    inputs = content.get("inputs")
    if not isinstance(inputs, dict):
        raise UsageProblem(
            f"--resume: {path}: run {content['run_id']} noted no inputs of its results, so "
            f"nothing tells which still hold; {begin_anew}"
        )
    version = inputs.get("suite_version")
    if version != __version__:
        raise UsageProblem(
            f"--resume: {path}: a run of pytest-qwenvl {version}, while this is {__version__}; a "
            "result of one says nothing of the other's requirements. Continue it with the version "
            f"that began it, or {begin_anew}"
        )
    try:
        return RunHeader.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageProblem(
            f"--resume: {path}: its first line does not follow schema version {SCHEMA_VERSION}: "
            f"{where}: {first['msg']}; was it edited by hand? Else {begin_anew}"
        ) from error
