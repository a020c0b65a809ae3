"""Two reports side by side: what changed, what is refused, and the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_qwenvl.cli import main
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.comparison import compare
from pytest_qwenvl.report.results import RunRecord
from pytest_qwenvl.report.verdict import judge_run
from tests.measure.evaluations import answered
from tests.report.measured import measured
from tests.report.records import MODEL, OTHER, claim, result, run
from tests.report.test_gating import LOSSY, SAME, stored

WORSE = result("QVL-SRV-002", "FAIL", reason="expected 400, saw 200")


def both(*outcomes: str) -> RunRecord:
    results = [
        result(f"QVL-SRV-{number:03}", outcome) for number, outcome in enumerate(outcomes, 1)
    ]
    return run(results=results)


def test_same_report_twice_is_no_change() -> None:
    found = compare(measured(SAME), measured(SAME))
    assert (found.worse, found.open, found.differences) == (False, False, ())
    (compared,) = found.measured
    assert "0 items lost, 0 won" in compared.judgement.sentence


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [("PASS", "FAIL", True), ("PASS", "ERROR", True), ("PASS", "SKIPPED", True),
     ("PASS", "WAIVED", True), ("INCONCLUSIVE", "FAIL", True), ("FAIL", "PASS", False),
     ("ERROR", "PASS", False)],
)  # fmt: skip
def test_outcomes_that_changed(before: str, after: str, worse: bool) -> None:
    found = compare(both("PASS", before), both("PASS", after))
    (difference,) = found.differences
    assert (difference.before, difference.after, difference.worse) == (before, after, worse)
    assert found.worse is worse


def test_what_only_one_report_claims() -> None:
    before = run(results=[result()], planned=[claim("QVL-SRV-007")])
    after = run(results=[result(), result("QVL-SRV-008")])
    found = compare(before, after)
    assert [it.requirement for it in found.gone] == ["QVL-SRV-007"]
    assert [it.requirement for it in found.added] == ["QVL-SRV-008"]
    # Something that was judged before and is not now keeps the question open.
    assert found.open and not found.worse
    assert not compare(run(results=[result()]), after).open


def test_planted_loss_is_worse_and_its_mirror_is_not() -> None:
    assert compare(measured(SAME), measured(LOSSY)).worse
    back = compare(measured(LOSSY), measured(SAME))
    assert not back.worse and not back.open


def test_refused_for_a_reason() -> None:
    other = answered(range(540), 900, task_versions={"colours": "2.0"})
    found = compare(measured(other), measured(SAME))
    (compared,) = found.measured
    assert compared.refused and "task version" in compared.judgement.sentence
    assert found.open and not found.worse


def test_settings_that_differ() -> None:
    before = run(results=[result()], versions={"vllm": "0.31.0", "torch": "2.13"})
    after = run(results=[result()], versions={"vllm": "0.32.0", "torch": "2.13"}, backend="npu")
    assert compare(before, after).settings == {
        "vllm": ("0.31.0", "0.32.0"), "backend": ("cpu", "npu"),
    }  # fmt: skip


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(UsageProblem, match=f"{MODEL}.*{OTHER}.*none in common"):
        compare(run(results=[result()]), run(results=[result(model=OTHER)]))
    with pytest.raises(UsageProblem, match="judged 0 requirements of none"):
        compare(run(), run())


@pytest.mark.parametrize(
    ("before", "after", "code", "said"),
    [
        (measured(SAME), measured(SAME), 0, "no change\n"),
        (both("FAIL"), both("PASS"), 0, "better, and nothing worse\n"),
        (measured(SAME), measured(LOSSY), 1, "40 items lost"),
        (run(results=[result(), result("QVL-SRV-002")]), run(results=[result(), WORSE]), 1,
         "PASS -> FAIL: expected 400, saw 200"),
        (measured(SAME), run(results=[result()]), 2, ""),
        (measured(answered(range(540), 900, weights="")), measured(SAME), 3, "refused"),
    ],
)  # fmt: skip
def test_command(
    before: RunRecord,
    after: RunRecord,
    code: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = stored(tmp_path, before, "before.json"), stored(tmp_path, after, "after.json")
    assert main(["compare", *paths]) == code
    output = capsys.readouterr()
    assert said in output.out
    assert ("none in common" in output.err) == (code == 2)


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 1, "ru', "[]"])
def test_bad_files_are_usage_errors(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = stored(tmp_path, measured(SAME), "good.json")
    (tmp_path / "bad.json").write_text(content)
    for argv in ([good, str(tmp_path / "bad.json")], [str(tmp_path / "bad.json"), good]):
        assert main(["compare", *argv]) == 2
        output = capsys.readouterr()
        assert output.out == "" and "bad.json" in output.err


def test_what_a_model_wrote_commands_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "expected Red, seen \x1b]0;owned\x07\x1b[2J\u202eRed\r"
    reports = run(results=[result()]), run(results=[result(outcome="FAIL", reason=hostile)])
    before, after = (
        stored(tmp_path, judge_run(it), name) for it, name in zip(reports, "ab", strict=True)
    )
    assert main(["compare", before, after]) == 1
    assert main(["gate", after]) == 1
    written = capsys.readouterr().out
    assert written.count("owned") == 3
    assert not set(written) & {"\x1b", "\x07", "\r", "\u202e"}
