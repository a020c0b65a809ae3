"""The page for a pull request: what it says, and that nothing in it can act."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from pytest_qwenvl.cli import main
from pytest_qwenvl.report.gating import judge_again
from pytest_qwenvl.report.markdown import MOST_PROBLEMS, render_markdown
from pytest_qwenvl.report.results import NotRun, RunRecord
from pytest_qwenvl.report.verdict import judge_run
from tests.report.measured import measured
from tests.report.records import MODEL, claim, requirement, result, run
from tests.report.test_gating import LOSSY, SAME, stored


def page(record: RunRecord) -> str:
    return render_markdown(judge_run(record))


def test_says_verdict_counts_and_what_was_measured() -> None:
    text = render_markdown(measured(SAME, versions={"vllm": "0.32.0"}))
    assert text.startswith("## ✅ Qwen-VL conformance: CONFORMANT\n")
    assert f"| {MODEL}/offline-1npu | 2/2 |" in text
    assert "540 of 900 right" in text
    assert "vllm 0.32.0" in text
    assert "Not passed" not in text


def test_planted_loss_is_named_with_its_requirement() -> None:
    again = judge_again(measured(LOSSY), measured(SAME))
    text = render_markdown(again.run, again.changes)
    assert text.startswith("## ❌ Qwen-VL conformance: NON-CONFORMANT\n")
    assert f"- **FAIL** QVL-ACC-004 (core) on {MODEL}/offline-1npu" in text
    assert "not judged in the report, FAIL judged again" in text


def test_worst_comes_first_and_the_page_stays_one() -> None:
    results = [result(f"QVL-EXT-{n:03}", "FAIL", level="extended") for n in range(30)]
    results += [result("QVL-SRV-001", "ERROR"), result("QVL-SRV-002", "FAIL", reason="saw 200")]
    text = page(run(results=results, planned=[claim("QVL-SRV-009")]))
    problems = re.findall(r"^- \*\*([\w ]+)\*\* (\S+)", text, re.MULTILINE)
    assert problems[:3] == [
        ("FAIL", "QVL-SRV-002"), ("ERROR", "QVL-SRV-001"), ("NOT JUDGED", "QVL-SRV-009"),
    ]  # fmt: skip
    assert len(problems) == MOST_PROBLEMS
    assert f"- and {33 - MOST_PROBLEMS} more" in text


def test_without_a_reason_the_requirement_says_what_was_expected() -> None:
    text = page(run(planned=[claim()], requirements=[requirement()]))
    assert "The server MUST keep QVL-SRV-001." in text
    left = NotRun(model=MODEL, deployment="serve-2npu", reason="needs 2 NPUs; this run has 1")
    assert "- **not run** qwen3-vl-tiny/serve-2npu: needs 2 NPUs" in page(run(not_run=[left]))


HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=y> [a](javascript:alert(1)) ![p](http://x/y) "
    "https://x.example www.x.example @somebody #12 | cell `code` **bold** &lt; \x1b[31m \u202e"
    "\n# title\n- item"
)


def test_nothing_that_a_model_wrote_can_act() -> None:
    record = run(
        results=[result(outcome="FAIL", reason=HOSTILE.replace("\n", " "))],
        argv=("pytest", HOSTILE),
        versions={"vllm": HOSTILE},
        not_run=[NotRun(model=HOSTILE, deployment=HOSTILE, reason=HOSTILE)],
    )
    text = page(record)
    for active in (
        r"(?<!\\)<", r"(?<!\\)\[", r"(?<!\\)`", r"https?:", r"www\.", r"@somebody", r"#12",
        r"(?<!\\)&", "\x1b", "\u202e",
    ):  # fmt: skip
        assert not re.search(active, text), active
    # Only the page's own lines begin anything.
    assert not re.search(r"^# title|^- item", text, re.MULTILINE)
    assert all(line.count("|") - line.count("\\|") == 3 for line in text.splitlines()
               if line.startswith("|"))  # fmt: skip


def test_long_answers_are_cut() -> None:
    text = page(run(results=[result(outcome="FAIL", reason="x" * 100_000)]))
    assert len(text) < 2_000


def test_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.md"
    assert main(["gate", stored(tmp_path, measured(SAME)), "--markdown", str(out)]) == 0
    assert out.read_text() == render_markdown(measured(SAME))
    capsys.readouterr()
    nowhere = tmp_path / "missing" / "page.md"
    assert main(["gate", stored(tmp_path, measured(SAME)), "--markdown", str(nowhere)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_full_disk_leaves_the_page_that_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report, out = stored(tmp_path, measured(SAME)), tmp_path / "page.md"
    out.write_text("the last release's page")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert main(["gate", report, "--markdown", str(out)]) == 2
    assert "No space left on device; what was there before still is" in capsys.readouterr().err
    assert out.read_text() == "the last release's page"
    assert sorted(it.name for it in tmp_path.iterdir()) == ["page.md", "report.json"]
