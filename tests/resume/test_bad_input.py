"""What --resume refuses, and what it reads all the same."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from pytest_qwenvl import __version__
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.directory import ReportDirectory
from pytest_qwenvl.report.recorder import RunRecorder
from pytest_qwenvl.resume_inputs import RunInputs
from pytest_qwenvl.resume_record import carried_in, check_resumable, read_earlier
from tests.plugin.suite import Suite
from tests.report.records import result, run


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What a killed run of two results left."""
    inputs = RunInputs(suite_version=__version__, catalogue_version="1")
    recorder = RunRecorder(
        run(complete=False), tmp_path / "report", header={"inputs": inputs.model_dump()}
    )
    recorder.add_result(result("QVL-SRV-001"))
    recorder.add_result(result("QVL-SRV-002"))
    recorder._directory.close()  # type: ignore[union-attr]
    return tmp_path / "report"


def lines_of(directory: Path) -> list[str]:
    return (directory / "results.jsonl").read_text().splitlines()


def write(directory: Path, *lines: str, end: str = "\n") -> None:
    (directory / "results.jsonl").write_text("\n".join(lines) + end)


def test_whole_record_reads_back(left: Path) -> None:
    earlier = read_earlier(left)
    assert [it.requirement for it in earlier.results] == ["QVL-SRV-001", "QVL-SRV-002"]
    assert earlier.header.run_id == "run-1"
    assert earlier.header.pid == os.getpid()
    assert (earlier.damaged, earlier.notes) == (frozenset(), ())


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_torn_last_line_is_left_out_and_named(left: Path, cut: int) -> None:
    text = (left / "results.jsonl").read_text()
    (left / "results.jsonl").write_text(text[:-cut])
    earlier = read_earlier(left)
    assert [it.requirement for it in earlier.results] == ["QVL-SRV-001"]
    (note,) = earlier.notes
    size = len(lines_of(left)[-1].encode())
    assert f"the last line was cut off after {size} bytes" in note
    (test,) = earlier.damaged
    assert test in note
    assert test == json.loads(text.splitlines()[-1])["test"]


def test_last_line_whose_beginning_is_lost(left: Path) -> None:
    header, first, second = lines_of(left)
    write(left, header, first, "\0" * 300 + second[300:])
    earlier = read_earlier(left)
    assert len(earlier.results) == 1
    assert "cut off" in earlier.notes[0]


def test_repeated_lines_count_once(left: Path) -> None:
    header, first, second = lines_of(left)
    write(left, header, first, second, first, first)
    earlier = read_earlier(left)
    assert len(earlier.results) == 2
    assert "2 lines stand there twice" in earlier.notes[0]


def test_damage_in_the_middle_is_refused_with_its_line(left: Path) -> None:
    header, first, second = lines_of(left)
    write(left, header, first[:100], second)
    with pytest.raises(UsageProblem, match=r"line 2 is no result.*remove that line to go on"):
        read_earlier(left)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("", "does not say what run it is of"),
        ("no JSON", "does not say what run it is of"),
        ("[]", "does not say what run it is of"),
        ('{"some": "other tool"}', "does not say what run it is of"),
        ('{"schema_version": 9, "run_id": "x"}', "schema version 9"),
        ('{"schema_version": 1, "run_id": "x"}', "run x noted no inputs"),
        ('{"schema_version": 1, "run_id": "x", "inputs": {"suite_version": "0.0.1"}}',
         f"a run of pytest-qwenvl 0.0.1, while this is {__version__}"),
    ],
)  # fmt: skip
def test_foreign_records_are_refused(left: Path, first: str, said: str) -> None:
    _, *others = lines_of(left)
    write(left, first, *others)
    with pytest.raises(UsageProblem) as refused:
        read_earlier(left)
    assert said in str(refused.value)
    assert f"run from the beginning with --conformance-report={left}" in str(refused.value)


def test_edited_header_is_refused(left: Path) -> None:
    header, *others = lines_of(left)
    write(left, json.dumps({**json.loads(header), "surprise": 1}), *others)
    with pytest.raises(UsageProblem, match="surprise: Extra inputs are not permitted"):
        read_earlier(left)


def test_workers_take_what_was_carried_over_and_no_more(left: Path) -> None:
    header, first, second = lines_of(left)
    carried = json.dumps({**json.loads(first), "carried_over": {"run_id": "r", "attempt": 1}})
    write(left, header, carried, second, second[:50], end="")
    _, results = carried_in(left)
    assert [it.requirement for it in results] == ["QVL-SRV-001"]


def test_what_is_no_report_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="no such folder"):
        check_resumable(tmp_path / "none")
    file = tmp_path / "report.json"
    file.write_text("{}")
    with pytest.raises(UsageProblem, match="is a file"):
        check_resumable(file)
    with pytest.raises(UsageProblem, match=r"no record of a run there.*report.json alone"):
        check_resumable(tmp_path)


def test_a_live_run_is_named_with_its_process(left: Path) -> None:
    held = os.open(left, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UsageProblem) as refused:
            ReportDirectory(left, "--resume")
    finally:
        os.close(held)
    assert f"--resume {left}: another run is writing its report there" in str(refused.value)
    assert f"(process {os.getpid()} on " in str(refused.value)


def test_usage_errors_of_a_run(suite: Suite) -> None:
    suite.profile("alpha")
    missing = suite.folder / "none"
    suite.run(f"--resume={missing}").assert_usage_error(f"--resume {missing}: no such folder")
    assert not missing.exists()
    done = suite.run("-m", "environment", f"--conformance-report={suite.report}")
    assert done.code == 0, done.all
    before = (suite.report / "results.jsonl").read_bytes()
    suite.run(f"--resume={suite.report}").assert_usage_error(
        "was asked for -m environment, this one for everything"
    )
    held = os.open(suite.report, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        suite.run(f"--resume={suite.report}", "-m", "environment").assert_usage_error(
            "another run is writing its report there (process "
        )
    finally:
        os.close(held)
    assert (suite.report / "results.jsonl").read_bytes() == before


def test_a_directory_that_cannot_be_written(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = Path.open

    def refuse(self: Path, mode: str = "r", *arguments: object, **more: object) -> object:
        if "w" in mode:
            raise PermissionError(13, "Permission denied", str(self))
        return really(self, mode, *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UsageProblem, match=r"--resume .*could not be written: Permission denied"):
        ReportDirectory(left, "--resume")
