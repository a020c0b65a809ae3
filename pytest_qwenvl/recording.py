"""Between pytest and the report: results travel on pytest's own reports, from workers too."""

from __future__ import annotations

import datetime
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from pytest_qwenvl import __version__
from pytest_qwenvl.engines.installed import record_digests
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.extension_record import told_at_end, told_at_start
from pytest_qwenvl.failing import forget_earlier
from pytest_qwenvl.report.environment import host_facts
from pytest_qwenvl.report.recorder import RunRecorder
from pytest_qwenvl.report.results import (
    EngineRecord,
    Extension,
    NotRun,
    Result,
    RunRecord,
    Undecided,
)
from pytest_qwenvl.report.terminal import write_summary
from pytest_qwenvl.report.verdict import Claim, settle
from pytest_qwenvl.resume_run import (
    check_resume,
    header_of,
    inputs_now,
    open_report,
    with_continuation,
)
from pytest_qwenvl.resume_workers import forget_workers
from pytest_qwenvl.run import (
    WORKER_INPUT,
    attach_run,
    baseline_of,
    catalogue_of,
    config_of,
    engine_session_of,
    plan_of,
    report_root,
    run_id_of,
    waivers_of,
)
from pytest_qwenvl.waivers import Waiver, review

_KEYS = ("VLLM_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_CURRENT: list[Recording] = []


class Recording:
    """The controller's side: takes reports, keeps the run's record, shows the verdict.

    Args:
        tell: what plugins of vendors have to say of the finished run, and what went wrong.
    """

    def __init__(
        self,
        recorder: RunRecorder,
        waivers: tuple[Waiver, ...] = (),
        tell: Callable[[RunRecord], tuple[dict[str, Extension], list[str]]] | None = None,
    ) -> None:
        self.recorder = recorder
        self._waivers = waivers
        self._tell = tell
        self._told_wrong: list[str] = []
        self._held_back: list[NotRun] = []
        self._finished: RunRecord | None = None

    def take(self, report: pytest.TestReport) -> None:
        """Add what a report carries: claims once a worker, engines, a result."""
        carried: dict[str, Any] = getattr(report, "qwenvl", {})
        self.take_carried(carried)
        if "result" in carried:
            result = Result.model_validate(carried["result"])
            node: Any = getattr(report, "node", None)
            if node is not None:
                result = result.model_copy(update={"worker": node.gateway.id})
            self.recorder.add_result(result)

    def take_rest(self, worker_output: dict[str, Any]) -> None:
        """Add what a worker sent when it ended."""
        self.take_carried(json.loads(worker_output.get(WORKER_INPUT, "{}")))

    def take_carried(self, carried: dict[str, Any]) -> None:
        """Add claims, deployments held back, notes and engines."""
        if "claims" in carried:
            self.recorder.plan([tuple(claim) for claim in carried["claims"]])
        for note in carried.get("notes", []):
            self.recorder.add_note(note)
        left_out = [*carried.get("held_back", []), *carried.get("lost", [])]
        for entry in map(NotRun.model_validate, left_out):
            if entry not in self._held_back:
                self._held_back.append(entry)
                self.recorder.add_not_run(entry)
        for entry in carried.get("undecided", []):
            self.recorder.add_undecided(Undecided.model_validate(entry))
        for engine in carried.get("engines", []):
            record = EngineRecord.model_validate(engine)
            self.recorder.add_engine(record)
            if record.versions:
                self.recorder.update(versions=dict(record.versions))

    def finish(self, exit_status: int) -> int:
        """Judge the run, write the last report, and give the exit status: waivers may change it."""
        if self._waivers:
            run = self.recorder.snapshot()
            known = [requirement.id for requirement in run.requirements]
            claims = [Claim.parse(text) for text in run.planned]
            settled = settle(run.results, claims, run.requirements)
            reviewed = review(self._waivers, known, settled, today())
            self.recorder.update(waivers=reviewed)
            if exit_status == 0 and any(waiver.problem for waiver in reviewed):
                exit_status = 1
        if self._tell is not None:
            extensions, self._told_wrong = self._tell(self.recorder.snapshot())
            self.recorder.update(extensions=extensions)
            for problem in self._told_wrong:
                self.recorder.add_note(f"{problem}; the report is without its fields")
        self._finished = self.recorder.finish(exit_status)
        ended = exit_status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if ended and self.recorder.report_path is not None and not self.recorder.problem:
            forget_workers(self.recorder.report_path.parent)
        if self in _CURRENT:
            _CURRENT.remove(self)
        # The record tells how the tests ended; a plugin's mistake after them does not change that.
        return int(pytest.ExitCode.USAGE_ERROR) if self._told_wrong else exit_status

    def write_summary(self, terminalreporter: Any) -> None:
        """Write the verdict and what it rests on through pytest's terminal reporter."""
        run = self._finished or self.recorder.snapshot()
        for problem in self._told_wrong:
            terminalreporter.write_line(f"ERROR: {problem}; the report is whole but for its fields")
        terminalreporter.section("Qwen-VL conformance")
        write_summary(
            run,
            terminalreporter,
            terminalreporter._tw.fullwidth,
            report=self.recorder.page_path or self.recorder.report_path,
            trouble=self.recorder.problem,
        )


def current() -> Recording | None:
    """The recording of the run this process controls."""
    return _CURRENT[-1] if _CURRENT else None


def begin_recording(config: pytest.Config) -> Recording:
    """Check that the run can be what was asked for, and open its report.

    Raises:
        pytest.UsageError: no engine, no device, no weights, no place for the report.
    """
    plan = plan_of(config)
    asked = config_of(config)
    catalogue = catalogue_of(config)
    waivers = waivers_of(config)
    baseline_of(config)
    manager = config.pluginmanager
    try:
        check_resume(config)
        host = host_facts()
        facts, extensions = told_at_start(manager, asked, plan, host)
        versions: dict[str, str] = {}
        if plan.endpoint is None:
            versions = engine_session_of(config).versions()
        else:
            versions = attach_run(config)
        builds, scope = _engine_digests(config), scope_of(config)
        known = {name: host[name] for name in ("cpu", "architecture")}
        inputs = inputs_now(config, scope, versions, builds, {**known, **facts})
        opened = open_report(config, inputs, catalogue.requirements, waivers, today())
        record = RunRecord(
            suite_version=__version__,
            catalogue_version=catalogue.version,
            run_id=run_id_of(config),
            started=time.time(),
            argv=("pytest", *map(str, config.invocation_params.args)),
            scope=scope,
            backend=plan.inventory.backend if plan.endpoint is None else "",
            npus=plan.npus,
            endpoint=plan.endpoint or "",
            host={**host, **facts},
            versions={"pytest": pytest.__version__, **versions},
            digests=builds,
            requirements=list(catalogue.requirements),
            profiles={it.name: it.model_dump(mode="json") for it in plan.profiles},
            not_run=list(plan.not_run),
            extensions=extensions,
        )
        recorder = RunRecorder(
            with_continuation(record, opened),
            opened.directory,
            header=header_of(opened, inputs),
            secrets=secrets_of(config),
            warn=lambda line: print(f"\n{line}", file=sys.stderr),  # noqa: T201
        )
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None
    forget_workers(report_root(config))
    forget_earlier(report_root(config), recorder.snapshot().results)
    recording = Recording(
        recorder, waivers, lambda run: told_at_end(manager, asked, run, recorder.redactor)
    )
    _CURRENT.append(recording)
    return recording


def _engine_digests(config: pytest.Config) -> dict[str, str]:
    """Digests of the wheels of an engine on this host; an image has a digest of its own."""
    if plan_of(config).endpoint is not None:
        return {}
    engines = engine_session_of(config)
    if engines.container is not None:
        return {}
    interpreter = engines.interpreter
    names = [name for name, version in interpreter.versions.items() if version]
    return record_digests(interpreter.site_packages, [*names, interpreter.distribution])


def scope_of(config: pytest.Config) -> str:
    """How the run was narrowed, as the user wrote it; empty for the whole suite."""
    endpoint = config_of(config).endpoint
    parts = [f"--endpoint={endpoint}"] if endpoint else []
    parts += [f"--deployment={name}" for name in config_of(config).deployments]
    if config.option.markexpr:
        parts += ["-m", config.option.markexpr]
    if config.option.keyword:
        parts += ["-k", config.option.keyword]
    for name in config.getoption("deselect") or []:
        parts += ["--deselect", name]
    suite = config_of(config).suite
    for argument in map(str, config.args):
        path = config.invocation_params.dir / argument.split("::")[0]
        whole = "::" not in argument and suite is not None
        if not (whole and suite is not None and (suite == path or path in suite.parents)):
            parts.append(argument)
    return shlex.join(parts)


def secrets_of(config: pytest.Config) -> list[str]:
    """Values that no report may show: the endpoint's key, and the keys of servers and hubs.

    Raises:
        pytest.UsageError: ``--api-key-env`` names a variable that is not set.
    """
    try:
        key = config_of(config).endpoint_key
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None
    own = [os.environ.get(name) for name in _KEYS]
    return [value for value in (key, *own) if value]


def today() -> datetime.date:
    """The day that waivers are held against, in UTC: the same wherever a run takes place."""
    return datetime.datetime.now(datetime.timezone.utc).date()
