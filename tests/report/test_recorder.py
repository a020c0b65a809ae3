from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.directory import ReportDirectory, check_directory
from pytest_qwenvl.report.reading import read_report
from pytest_qwenvl.report.recorder import RunRecorder, _timer
from pytest_qwenvl.report.results import EngineRecord, NotRun, RunRecord, Verdict
from tests.report.records import MODEL, SERVE, claim, result, run

CHECKOUT = Path(__file__).parents[2]


class Later:
    """A clock that tests move, and the calls put off to a later time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def clock(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> Later:
        self.calls.append((delay, call))
        return self

    def cancel(self) -> None:
        self.calls.clear()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        calls, self.calls = self.calls, []
        for delay, call in calls:
            assert delay <= seconds
            call()


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def recorder(tmp_path: Path, later: Later, warnings: list[str]) -> RunRecorder:
    return RunRecorder(
        run(complete=False),
        tmp_path / "report",
        warn=warnings.append,
        clock=later.clock,
        wall=lambda: 1_700_000_060.0,
        call_later=later.call_later,
    )


def written(recorder: RunRecorder) -> RunRecord:
    assert recorder.report_path is not None
    return RunRecord.model_validate_json(recorder.report_path.read_bytes())


def test_unfinished_report_is_there_from_the_start(recorder: RunRecorder) -> None:
    record = written(recorder)
    assert not record.complete
    assert record.verdict is Verdict.PARTIAL
    assert record.results == []


def test_every_result_is_on_disk_at_once(recorder: RunRecorder, tmp_path: Path) -> None:
    for number in range(3):
        recorder.add_result(result(f"QVL-SRV-00{number}"))
        lines = (tmp_path / "report" / "results.jsonl").read_text().splitlines()
        assert json.loads(lines[0])["run_id"] == "run-1"
        assert [json.loads(line)["requirement"] for line in lines[1:]] == [
            f"QVL-SRV-00{n}" for n in range(number + 1)
        ]


def test_report_follows_within_a_second_even_when_nothing_more_comes(
    recorder: RunRecorder, later: Later
) -> None:
    later.now += 0.4
    recorder.add_result(result("QVL-SRV-001"))
    recorder.add_result(result("QVL-SRV-002"))
    assert len(later.calls) == 1
    assert written(recorder).results == []
    later.pass_time(0.6001)
    assert len(written(recorder).results) == 2
    later.pass_time(1.0)
    recorder.add_result(result("QVL-SRV-003"))
    assert len(written(recorder).results) == 3
    assert later.calls == []


def test_whole_run_reads_back_as_it_was(recorder: RunRecorder, tmp_path: Path) -> None:
    recorder.plan([(MODEL, SERVE, "QVL-SRV-001"), (MODEL, SERVE, "QVL-SRV-001")])
    recorder.add_not_run(NotRun(model="qwen3-vl-8b-instruct", reason="no weights"))
    engine = EngineRecord(model=MODEL, deployment=SERVE, kind="serve", argv=("vllm", "serve"))
    recorder.add_engine(engine)
    recorder.add_result(result(evidence={"x": float("nan")}))
    recorder.update(versions={"vllm": "0.32.0"}, backend="npu", npus=1)
    finished = recorder.finish(0)
    assert finished.planned == [claim()]
    assert finished.engines == [engine]
    assert finished.complete
    assert finished.finished == 1_700_000_060.0
    assert finished.exit_status == 0
    assert finished.verdict is Verdict.CONFORMANT
    assert finished.versions == {"vllm": "0.32.0"}
    assert read_report(tmp_path / "report") == finished
    assert recorder.problem == ""


def test_nothing_is_written_without_a_directory(tmp_path: Path) -> None:
    recorder = RunRecorder(run(complete=False))
    recorder.add_result(result())
    assert recorder.report_path is None
    assert recorder.finish(0).verdict is Verdict.CONFORMANT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("status", "verdict"), [(0, "CONFORMANT"), (1, "CONFORMANT"),
                                                 (2, "PARTIAL"), (3, "PARTIAL")])  # fmt: skip
def test_ending_early_is_never_conformant(recorder: RunRecorder, status: int, verdict: str) -> None:
    recorder.add_result(result())
    assert recorder.finish(status).verdict.value == verdict


def test_interruption_is_on_disk_at_once_and_the_first_reason_stays(
    recorder: RunRecorder, later: Later
) -> None:
    recorder.add_result(result())
    assert later.calls
    recorder.interrupt("Ctrl-C while loading weights")
    assert later.calls == []
    assert written(recorder).interrupted == "Ctrl-C while loading weights"
    assert len(written(recorder).results) == 1
    recorder.interrupt("another")
    assert "Ctrl-C" in recorder.finish(2).verdict_sentence


def test_secrets_never_reach_the_disk(tmp_path: Path) -> None:
    secret = "sk-hidden-value"
    first = run(
        complete=False,
        argv=("pytest", f"--x={secret}"),
        scope=f"-k {secret}",
        profiles={"p": {"environment": {"A": secret}}},
    )
    recorder = RunRecorder(first, tmp_path, secrets=[secret])
    recorder.add_result(result(outcome="FAIL", reason=secret, evidence={"k": [secret]}))
    recorder.update(host={"name": secret})
    recorder.add_engine(EngineRecord(model="m", deployment="d", kind="bench", argv=("x", secret)))
    recorder.interrupt(secret)
    recorder.finish(1)
    for path in tmp_path.iterdir():
        assert secret not in path.read_text(), path


def test_late_versions_join_the_early_ones(recorder: RunRecorder) -> None:
    recorder.update(versions={"pytest": "9", "vllm": "0.31"})
    recorder.update(versions={"vllm": "0.32"})
    assert recorder.snapshot().versions == {"pytest": "9", "vllm": "0.32"}


def test_put_off_writing_happens_on_a_thread_of_its_own() -> None:
    called = threading.Event()
    _timer(0.0, called.set)
    assert called.wait(60)
    never = threading.Event()
    _timer(3600.0, never.set).cancel()
    assert not never.is_set()


def test_unknown_field_is_refused(recorder: RunRecorder) -> None:
    for field in ("vesions", "results"):
        with pytest.raises(ValueError, match=field):
            recorder.update(**{field: {}})


def test_finishing_twice_changes_nothing(recorder: RunRecorder, tmp_path: Path) -> None:
    recorder.finish(1)
    recorder.finish(0)
    recorder.flush()
    assert read_report(tmp_path / "report").exit_status == 1


# --- directories that cannot be used -------------------------------------------------------


def test_directory_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.write_text("mine")
    with pytest.raises(UsageProblem, match="is a file"):
        RunRecorder(run(), path)
    with pytest.raises(UsageProblem, match="cannot be made"):
        RunRecorder(run(), path / "below")
    assert path.read_text() == "mine"


def test_directory_where_nothing_can_be_made() -> None:
    with pytest.raises(UsageProblem, match=r"cannot be made.*give a folder"):
        check_directory(Path("/proc/qwenvl-report"))


def test_report_that_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    with pytest.raises(UsageProblem, match=r"cannot write report\.json"):
        RunRecorder(run(), tmp_path)


def test_second_run_in_the_same_directory_is_refused_until_the_first_ends(
    recorder: RunRecorder, tmp_path: Path
) -> None:
    recorder.add_result(result())
    with pytest.raises(UsageProblem, match="another run"):
        ReportDirectory(tmp_path / "report")
    recorder.finish(0)
    assert len(read_report(tmp_path / "report").results) == 1
    RunRecorder(run(run_id="run-2"), tmp_path / "report").finish(0)
    assert read_report(tmp_path / "report").run_id == "run-2"


def in_child(
    code: str, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    prelude = "from tests.report.records import *\nfrom pathlib import Path\n"
    prelude += "from pytest_qwenvl.report.recorder import RunRecorder\n"
    return subprocess.run(
        [sys.executable, "-c", prelude + code],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=before,
    )


def test_full_disk_at_the_start_is_a_usage_problem(tmp_path: Path) -> None:
    def no_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = in_child(f"RunRecorder(run(), Path({str(tmp_path / 'r')!r}))", no_space)
    assert done.returncode != 0
    assert "UsageProblem" in done.stderr
    assert "trial file of 256 KiB could not be written" in done.stderr
    assert [path.name for path in (tmp_path / "r").iterdir()] == []


def test_full_disk_later_keeps_the_run_and_the_last_report(tmp_path: Path) -> None:
    # A limit on file sizes is the full disk that a test can have without root: the same
    # OSError out of the same calls, the file cut where the space ends.
    done = in_child(f"""
import resource
warnings = []
recorder = RunRecorder(run(complete=False), Path({str(tmp_path)!r}), warn=warnings.append,
                       clock=iter(range(0, 1000, 5)).__next__)
recorder.add_result(result("QVL-SRV-001"))
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
size = Path({str(tmp_path / "report.json")!r}).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
for number in range(2, 9):
    recorder.add_result(result(f"QVL-SRV-00{{number}}", evidence={{"x": "y" * 300}}))
assert len(warnings) == 1, warnings
assert "could not be written" in recorder.problem
on_disk = Path({str(tmp_path / "report.json")!r}).read_text()
assert len(RunRecord.model_validate_json(on_disk).results) == 1
assert not Path({str(tmp_path / "report.json.partial")!r}).exists()
lines = Path({str(tmp_path / "results.jsonl")!r}).read_text()
assert lines.endswith("}}\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
record = recorder.finish(0)
assert len(record.results) == 8
assert recorder.problem == ""
print(warnings[0])
""")
    assert done.returncode == 0, done.stderr
    assert "report" in done.stdout
    assert len(read_report(tmp_path).results) == 8
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["requirement"] for line in lines[1:]] == [
        f"QVL-SRV-00{number}" for number in range(1, 9)
    ]
    assert not (tmp_path / "report.json.partial").exists()


def test_disk_that_stays_full_is_told_and_nothing_in_memory_is_lost(tmp_path: Path) -> None:
    done = in_child(f"""
import resource
recorder = RunRecorder(run(complete=False), Path({str(tmp_path)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
for number in range(1, 9):
    recorder.add_result(result(f"QVL-SRV-00{{number}}"))
record = recorder.finish(0)
assert len(record.results) == 8
assert record.verdict.value == "CONFORMANT"
print(recorder.problem)
""")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout
    assert "could not be written" in done.stdout
    assert not read_report(tmp_path).complete


def test_directory_that_vanishes_does_not_stop_the_run(
    recorder: RunRecorder, later: Later, warnings: list[str], tmp_path: Path
) -> None:
    directory = tmp_path / "report"
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    later.now += 5
    recorder.add_result(result())
    later.now += 5
    recorder.add_result(result("QVL-SRV-002"))
    assert len(warnings) == 1
    assert len(recorder.finish(0).results) == 2
    assert str(directory) in recorder.problem


def test_directory_without_the_right_to_write() -> None:
    # Root may write anywhere, so as root the child becomes somebody else.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o555)
        done = in_child(f"""
import os
if os.geteuid() == 0:
    os.seteuid(65534)
RunRecorder(run(), Path({directory!r}))
""")
    assert "could not be written: Permission denied" in done.stderr


@pytest.mark.parametrize("phase", ["before any result", "between results", "after the last"])
def test_killed_run_leaves_a_readable_report(tmp_path: Path, phase: str) -> None:
    results = {"before any result": 0, "between results": 3, "after the last": 8}[phase]
    done = in_child(f"""
import os, signal
recorder = RunRecorder(run(complete=False), Path({str(tmp_path)!r}), clock=lambda: 0.0)
recorder.plan([(MODEL, SERVE, f"QVL-SRV-00{{n}}") for n in range(8)])
recorder.flush()
for number in range({results}):
    recorder.add_result(result(f"QVL-SRV-00{{number}}"))
os.kill(os.getpid(), signal.SIGKILL)
""")
    assert done.returncode == -signal.SIGKILL, done.stderr
    record = read_report(tmp_path)
    assert not record.complete
    assert len(record.results) == results
    assert record.verdict is Verdict.PARTIAL
    assert record.model_verdicts[0].counts.get("core.NOT_JUDGED", 0) == 8 - results
    # The dead run's hold on the directory is gone with it.
    RunRecorder(run(run_id="run-2"), tmp_path).finish(0)
