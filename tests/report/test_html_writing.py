"""When the page is written, and that no trouble with it loses a report."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

import pytest_qwenvl.report.html
from pytest_qwenvl.cli import main
from pytest_qwenvl.report.directory import ReportDirectory
from pytest_qwenvl.report.reading import read_report
from pytest_qwenvl.report.recorder import RunRecorder
from pytest_qwenvl.report.verdict import judge_run
from tests.report.pages import PICTURE, evaluation, full_run, read_page, write_pictures
from tests.report.records import result, run


@pytest.fixture
def warnings() -> list[str]:
    return []


def recorder(folder: Path, warnings: list[str], **fields: Any) -> RunRecorder:
    return RunRecorder(run(complete=False, **fields), folder, warn=warnings.append)


def test_a_run_that_ends_leaves_its_page(tmp_path, warnings):
    made = recorder(tmp_path, warnings)
    made.add_result(result(outcome="FAIL", reason="seen 3"))
    assert not (tmp_path / "report.html").exists()
    made.finish(1)
    page = read_page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.one("h1").text == "NON-CONFORMANT"
    assert "seen 3" in page.one("section", id="problems").text
    assert (warnings, made.problem) == ([], "")
    assert made.page_path == tmp_path / "report.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.html",
        "report.json",
        "results.jsonl",
    ]


def test_an_interrupted_run_leaves_a_page_that_says_so(tmp_path, warnings):
    made = recorder(tmp_path, warnings)
    made.add_result(result())
    made.interrupt("Ctrl-C")
    made.finish(2)
    header = read_page((tmp_path / "report.html").read_text()).one("header").text
    assert "PARTIAL" in header and "Ctrl-C" in header and "did not finish" in header


def test_the_page_of_an_earlier_run_does_not_stay_beside_the_results_of_this_one(
    tmp_path, warnings
):
    (tmp_path / "report.html").write_text("an earlier run's")
    recorder(tmp_path, warnings)
    assert not (tmp_path / "report.html").exists()


def test_secrets_are_not_on_the_page(tmp_path, warnings):
    made = RunRecorder(run(complete=False), tmp_path, secrets=["sk-0123456789"])
    made.add_result(result(outcome="FAIL", reason="the key sk-0123456789", log="sk-0123456789"))
    made.finish(1)
    text = (tmp_path / "report.html").read_text()
    assert "the key [redacted]" in text
    assert "sk-0123456789" not in text


def test_a_page_that_cannot_be_drawn_loses_no_report(tmp_path, warnings, monkeypatch):
    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("no such template")

    monkeypatch.setattr(pytest_qwenvl.report.html, "render_page", broken)
    made = recorder(tmp_path, warnings)
    made.add_result(result())
    assert made.finish(0).verdict.value == "CONFORMANT"
    assert warnings == [made.problem]
    assert made.page_path is None
    assert made.problem.startswith(
        "report.html could not be drawn (RuntimeError: no such template)"
    )
    assert "pytest-qwenvl report --html" in made.problem
    assert read_report(tmp_path).complete


def test_a_disk_without_room_for_the_page_loses_no_report(tmp_path, warnings, monkeypatch):
    def full(self: ReportDirectory, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ReportDirectory, "replace_page", full)
    made = recorder(tmp_path, warnings)
    made.finish(0)
    assert len(warnings) == 1 and "No space left on device" in warnings[0]
    assert read_report(tmp_path).complete


def stored(folder: Path, name: str = "report.json", **fields: Any) -> Path:
    write_pictures(folder)
    path = folder / name
    path.write_text(judge_run(full_run(**fields)).model_dump_json())
    return path


def test_the_page_of_a_stored_report_is_drawn_on_request(tmp_path, capsys):
    report = stored(tmp_path)
    page = tmp_path / "page.html"
    assert main(["report", str(report), "--html", str(page)]) == 1
    assert capsys.readouterr().out.startswith("NON-CONFORMANT")
    problems = read_page(page.read_text()).one("section", id="problems")
    assert problems.one("img").attributes["alt"] == PICTURE
    # Again, over itself; and of the folder.
    assert main(["report", str(tmp_path), "--html", str(page)]) == 1
    assert len(read_page(page.read_text()).one("section", id="problems").all("img")) == 1


def test_with_a_baseline_it_shows_what_changed(tmp_path):
    record = full_run(run_id="run-0")
    record.results[-1].evidence["measurement"] = evaluation({4, 5})
    before = tmp_path / "before.json"
    before.write_text(judge_run(record).model_dump_json())
    page = tmp_path / "page.html"
    options = ["--html", str(page), "--baseline", str(before)]
    assert main(["report", str(stored(tmp_path)), *options]) == 1
    assert "1 lost, 1 gained" in read_page(page.read_text()).one("section", id="accuracy").text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--html", "{folder}/report.json"], "report.json: is there and is no page"),
        (["--html", "{folder}"], "is there and is no page"),
        (["--html", "{folder}/missing/page.html"], "cannot be written: No such file or directory"),
        (["--baseline", "{folder}/report.json"], "--baseline is for the page; give --html"),
        (["--html", "{folder}/x.html", "--baseline", "{folder}/nothing.json"], "no such file"),
    ],
)
def test_what_cannot_be_written_or_read_is_one_message(tmp_path, capsys, options, said):
    report = stored(tmp_path)
    before = report.read_bytes()
    options = [option.format(folder=tmp_path) for option in options]
    assert main(["report", str(report), *options]) == 2
    output = capsys.readouterr()
    assert said in output.err and output.out == ""
    assert report.read_bytes() == before
    assert not (tmp_path / "x.html").exists()
