"""One fault from its run's start to the run after it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pytest_qwenvl.commands.exit_codes import code_of
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.gating import judge_again
from pytest_qwenvl.report.reading import read_report
from pytest_qwenvl.report.results import RunRecord, Verdict
from tests.faults import hitting, moments, processes, proof, remains
from tests.faults.drawing import SIGNALS, Fault
from tests.faults.processes import Process
from tests.faults.suite import FaultSuite

BOUND = 10.0
"""Seconds until nothing may be left."""
PATIENCE = 5.0
"""Seconds that whoever watches grants a run in which something was frozen, before killing it."""
_RUN_LIMIT = 90.0  # seconds for a run whatever hit it: a run that hangs is a breach
_LOOK = 0.01


@dataclass
class Trial:
    """What came of one fault.

    Attributes:
        missed: why nothing was hit; such a fault counts for nothing.
        breaches: what should not have been.
        orphans_seconds: from the fault to the end of the last process that was orphaned by it.
        clean_seconds: from the fault, or from the end of pytest where that came later, until
            nothing was left.
        verdict: what the report says; empty where the run had not begun one.
    """

    fault: Fault
    missed: str = ""
    breaches: list[str] = field(default_factory=list)
    orphans_seconds: float = 0.0
    clean_seconds: float = 0.0
    verdict: str = ""
    exit_code: int | None = None
    killed: bool = False

    def __str__(self) -> str:
        if self.missed:
            return f"{self.fault}: missed: {self.missed}"
        text = (
            f"{self.fault}: {self.verdict or 'no report yet'}, exit {self.exit_code}"
            f"{' (killed)' if self.killed else ''}, orphans gone after "
            f"{self.orphans_seconds:.2f} s, all clean after {self.clean_seconds:.2f} s"
        )
        return "\n    ".join([text, *(f"BREACH: {it}" for it in self.breaches)])


def attempt(fault: Fault, folder: Path) -> Trial:
    """Start a run, hit it, and look at what is left; the folder is kept where anything was."""
    trial = Trial(fault)
    suite = FaultSuite(folder)
    if fault.action == "disk":
        suite.mount_report(hitting.DISK_MEBIBYTES)
    run = suite.begin(*(["-n", str(fault.workers)] if fault.workers else []),
                      cut_off=fault.action == "cut")  # fmt: skip
    try:
        _hit_and_look(trial, suite, run)
        if not trial.missed:
            _next_run(trial, suite)
    finally:
        _end_all(suite, run)
        if trial.breaches:
            suite.unmount()
        else:
            suite.remove()
    return trial


def _hit_and_look(trial: Trial, suite: FaultSuite, run: subprocess.Popen[bytes]) -> None:
    fault = trial.fault
    seen = moments.Moments(suite)
    deadline = time.monotonic() + _RUN_LIMIT
    while not seen.reached(fault.phase):
        if run.poll() is not None:
            trial.missed = f"the run ended with {run.returncode} before {fault.phase}"
            return
        if time.monotonic() >= deadline:
            trial.breaches.append(f"never came to {fault.phase}")
            return
        time.sleep(_LOOK if fault.phase != "report" else _LOOK / 10)
    time.sleep(fault.delay if fault.phase != "report" else fault.delay / 10)
    before = processes.of_run(suite.folder, run.pid)
    victim = processes.named(fault.victim, before, run.pid)
    if victim is None or run.poll() is not None:
        trial.missed = f"no {fault.victim} at this moment"
        return
    proven = seen.results()
    had_report = (suite.report / "report.json").exists()
    orphans = processes.tree_of(victim, before, run.pid)
    ports = remains.ports_of(before)
    last = hitting.hit(fault, victim, suite)
    ended = _await_orphans(trial, run, orphans, last)
    over = _await_end(trial, suite, run, max(deadline, last + _RUN_LIMIT), last)
    over = last if fault.victim == "pytest" and fault.action in SIGNALS else over
    _await_clean(trial, suite, run.pid, before, over)
    trial.breaches += remains.taken(ports, before)
    hitting.relieve(fault, suite)
    _check_report(trial, suite, proven, had_report, ended, last)


def _await_orphans(
    trial: Trial, run: subprocess.Popen[bytes], orphans: list[Process], hit_at: float
) -> set[int]:
    """Of a fault that ends its victim: wait for everything it orphaned; the ids that ended."""
    if trial.fault.action not in ("SIGKILL", "SIGTERM"):
        return set()
    left = [it for it in orphans if it.pid != run.pid]
    while left and time.monotonic() < hit_at + BOUND:
        time.sleep(_LOOK)
        run.poll()
        left = [it for it in left if it.alive]
    trial.orphans_seconds = time.monotonic() - hit_at
    trial.breaches += [f"orphaned {it} after {BOUND:.0f} s" for it in left]
    return {it.pid for it in orphans}


def _await_end(
    trial: Trial,
    suite: FaultSuite,
    run: subprocess.Popen[bytes],
    deadline: float,
    hit_at: float,
) -> float:
    """Wait for pytest to end, or end it as a person would; when that was."""
    fault = trial.fault
    while run.poll() is None:
        now = time.monotonic()
        if fault.action == "freeze" and now >= hit_at + PATIENCE and not trial.killed:
            trial.killed = True
            run.kill()
        if now >= deadline:
            trial.breaches.append(f"the run went on for {now - hit_at:.0f} s after the fault")
            run.kill()
            run.wait()
        time.sleep(_LOOK)
    trial.exit_code = run.returncode
    return time.monotonic()


def _await_clean(
    trial: Trial, suite: FaultSuite, leader: int, seen: Iterable[Process], since: float
) -> None:
    while True:
        left = remains.remains(suite, leader, seen)
        now = time.monotonic()
        trial.clean_seconds = now - since
        if not left:
            return
        if now >= since + BOUND:
            trial.breaches += [f"{it} after {BOUND:.0f} s" for it in left]
            return
        time.sleep(10 * _LOOK)


def _check_report(
    trial: Trial,
    suite: FaultSuite,
    proven: list[dict[str, object]],
    had_report: bool,
    ended: set[int],
    hit_at: float,
) -> None:
    try:
        record = read_report(suite.report)
        gated = judge_again(record).run
    except UsageProblem as problem:
        if had_report:
            trial.breaches.append(f"the report cannot be read: {problem}")
        elif trial.exit_code == 0:
            trial.breaches.append(f"exit 0 without a report: {problem}")
        return
    trial.verdict = record.verdict.value
    _check_verdict(trial, record, gated, ended, hit_at)
    kept = {(it.requirement, it.test) for it in record.results}
    lost = {(it["requirement"], it["test"]) for it in proven} - kept
    trial.breaches += [
        f"lost the result of {name}" for _, name in sorted(map(str, it) for it in lost)
    ]


def _check_verdict(
    trial: Trial, record: RunRecord, gated: RunRecord, ended: set[int], hit_at: float
) -> None:
    why_not = proof.why_not_conformant(record, ended, hit_at)
    for where, verdict in (("report", record.verdict), ("gate", gated.verdict)):
        if verdict is Verdict.CONFORMANT and why_not:
            trial.breaches.append(f"{where} says CONFORMANT, but {why_not}")
        if verdict is not Verdict.CONFORMANT and not why_not:
            trial.breaches.append(f"{where} says {verdict.value} of a run that proved everything")
    conformant = code_of(record.verdict) == 0
    # Whoever hits pytest itself may do so after its last word.
    hit_itself = trial.killed or trial.fault.victim == "pytest"
    if (trial.exit_code == 0) != conformant and not (conformant and hit_itself):
        trial.breaches.append(f"pytest's exit {trial.exit_code} with {record.verdict.value}")


def _next_run(trial: Trial, suite: FaultSuite) -> None:
    """The run after it, of a test that takes the lease and starts the engine."""
    run = suite.begin("-k", "test_starts")
    try:
        code: int | None = run.wait(_RUN_LIMIT)
    except subprocess.TimeoutExpired:
        code = None
    if code != 0:
        log = suite.log.read_text(errors="replace")[-3000:]
        trial.breaches.append(f"the next run ended with {code}:\n{log}")
        return
    record = read_report(suite.report)
    if record.verdict is not Verdict.CONFORMANT or len(record.results) != 1:
        trial.breaches.append(f"the next run: {record.verdict_sentence}")
    left = remains.remains(suite, run.pid, [])
    trial.breaches += [f"after the next run: {it}" for it in left]


def _end_all(suite: FaultSuite, run: subprocess.Popen[bytes]) -> None:
    """Leave nothing behind, whatever was found."""
    if run.poll() is None:
        run.kill()
        run.wait()
    deadline = time.monotonic() + BOUND
    while time.monotonic() < deadline:
        left = processes.of_run(suite.folder, run.pid)
        if not left:
            return
        for process in left:
            hitting.end(process)
        time.sleep(_LOOK)
