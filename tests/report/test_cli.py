from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_qwenvl import __version__
from pytest_qwenvl.cli import main
from pytest_qwenvl.report.results import RunRecord
from pytest_qwenvl.report.verdict import judge_run
from tests.report.records import claim, result, run
from tests.report.test_catalogue import entry

CHECKOUT = Path(__file__).parents[2]


def stored(tmp_path: Path, record: RunRecord) -> str:
    path = tmp_path / "report.json"
    path.write_text(judge_run(record).model_dump_json())
    return str(path)


@pytest.mark.parametrize(
    ("record", "code", "verdict"),
    [
        (run(results=[result()]), 0, "CONFORMANT"),
        (run(results=[result(outcome="FAIL", reason="x")]), 1, "NON-CONFORMANT"),
        (run(results=[result(outcome="ERROR", reason="x")]), 3, "PARTIAL"),
        (run(results=[result()], planned=[claim("QVL-SRV-002")]), 3, "PARTIAL"),
        (run(results=[result()], complete=False), 3, "PARTIAL"),
        (run(), 3, "PARTIAL"),
    ],
)
def test_report_prints_the_summary_and_its_code_is_the_verdict(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    record: RunRecord,
    code: int,
    verdict: str,
) -> None:
    assert main(["report", stored(tmp_path, record)]) == code
    assert capsys.readouterr().out.startswith(verdict)
    assert main(["report", str(tmp_path)]) == code


def test_unreadable_report_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "no such file" in output.err


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["report"], ["report", "a", "b"]])
def test_wrong_command_line_is_a_usage_error(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_reader_that_goes_away_does_not_change_the_verdict(tmp_path: Path, unbuffered: str) -> None:
    path = stored(tmp_path, run(results=[result(outcome="FAIL", reason="x")]))
    child = subprocess.Popen(
        [sys.executable, "-m", "pytest_qwenvl.cli", "report", path],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    errors = child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=60) == 1
    assert errors == b""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "conformance").mkdir()
    (tmp_path / "conformance/requirements.toml").write_text('version = "1.0"\n' + entry())
    (tmp_path / "conformance/test_serve.py").write_text(
        "@pytest.mark.requirement('QVL-SRV-001')\ndef test_up(): ...\n"
    )
    return tmp_path


def test_page_is_written_and_then_checked(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(suite)]
    page = suite / "docs/requirements.md"
    assert main(["requirements", "--check", *root]) == 1
    assert "out of date" in capsys.readouterr().err
    assert not page.exists()
    assert main(["requirements", *root]) == 0
    assert "QVL-SRV-001" in page.read_text()
    assert main(["requirements", "--check", *root]) == 0
    page.write_text(page.read_text() + "by hand\n")
    assert main(["requirements", "--check", *root]) == 1


def test_catalogue_that_does_not_fit_its_tests_fails(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (suite / "conformance/test_serve.py").write_text("")
    assert main(["requirements", "--root", str(suite)]) == 1
    assert "no test decides it" in capsys.readouterr().err


def test_unreadable_catalogue_is_a_usage_error(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (suite / "conformance/requirements.toml").unlink()
    assert main(["requirements", "--root", str(suite)]) == 2
    (suite / "conformance/requirements.toml").write_text('version = "1.0"\n' + entry())
    (suite / "docs").write_text("a file")
    assert main(["requirements", "--root", str(suite)]) == 2
    assert "cannot be written" in capsys.readouterr().err
