"""Reports judged again from what they keep, and the command that exits by the verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.catalogue import JUDGE_NAMES
from pytest_qwenvl.cli import main
from pytest_qwenvl.report.gating import judge_again
from pytest_qwenvl.report.judges import JUDGES
from pytest_qwenvl.report.results import Outcome, Result, RunRecord, Verdict
from tests.measure.evaluations import answered, evaluation, floor
from tests.report.measured import ANSWERS, BASELINE, FLOOR, REQUIREMENTS, SCORE, measured
from tests.report.records import result, run


def stored(folder: Path, record: RunRecord, name: str = "report.json") -> str:
    path = folder / name
    path.write_text(record.model_dump_json())
    return str(path)


def changed(record: RunRecord, id: str, **update: Any) -> RunRecord:
    """The record as somebody left it who edited the result of one requirement by hand."""
    results = [
        it.model_copy(update=update) if it.requirement == id else it for it in record.results
    ]
    return record.model_copy(update={"results": results})


def outcome_of(record: RunRecord, id: str) -> Outcome:
    (found,) = [it.outcome for it in record.results if it.requirement == id]
    return found


def evidence_of(record: RunRecord, id: str) -> dict[str, Any]:
    (found,) = [it.evidence for it in record.results if it.requirement == id]
    return found


def test_the_catalogue_knows_every_judge() -> None:
    assert set(JUDGE_NAMES) == set(JUDGES)


@pytest.mark.parametrize(
    ("its", "verdict"),
    [
        (evaluation(540, 900), Verdict.CONFORMANT),
        (evaluation(440, 900), Verdict.PARTIAL),
        (evaluation(300, 900), Verdict.NON_CONFORMANT),
        (evaluation(540, 900, empty=30), Verdict.NON_CONFORMANT),
        (evaluation(540, 900, limit=900.0), Verdict.PARTIAL),
    ],
)
def test_a_report_left_alone_comes_out_as_it_was(its: Any, verdict: Verdict) -> None:
    record = measured(its)
    assert record.verdict is verdict
    again = judge_again(record)
    assert (again.run, again.changes, again.judged) == (record, (), 2)


def test_outcome_written_by_hand_is_not_believed() -> None:
    record = changed(measured(evaluation(300, 900)), SCORE, outcome=Outcome.PASS, reason="")
    again = judge_again(record)
    assert outcome_of(again.run, SCORE) is Outcome.FAIL
    assert again.run.verdict is Verdict.NON_CONFORMANT
    (change,) = again.changes
    assert (change.before, change.after) == (Outcome.PASS, Outcome.FAIL)
    assert "300 of 900 right" in str(change)


def test_another_floor_in_the_report_is_another_verdict() -> None:
    record = measured(evaluation(540, 900))
    (model,) = record.profiles
    stricter = FLOOR.model_copy(update={"floor": 0.8}).model_dump(mode="json")
    record = record.model_copy(update={"profiles": {model: {"accuracy": [stricter]}}})
    assert outcome_of(judge_again(record).run, SCORE) is Outcome.FAIL


def without_item(evidence: dict[str, Any]) -> None:
    evidence["items"].pop()


def twice(evidence: dict[str, Any]) -> None:
    evidence["items"][1] = evidence["items"][0]


def another_score(evidence: dict[str, Any]) -> None:
    evidence["score"] = 0.99


def not_a_number(evidence: dict[str, Any]) -> None:
    evidence["items"][0]["score"] = "NaN"


def misspelt(evidence: dict[str, Any]) -> None:
    evidence["limmit"] = None


def of_another_kind(evidence: dict[str, Any]) -> None:
    evidence["kind"] = "survey"


@pytest.mark.parametrize(
    ("spoil", "outcome", "reason"),
    [
        (without_item, Outcome.INVALID, "its 899 items give"),
        (twice, Outcome.INVALID, "an item is there twice"),
        (another_score, Outcome.INVALID, "reported as 0.990000"),
        (not_a_number, Outcome.INVALID, "items.0.score"),
        (misspelt, Outcome.INVALID, "limmit"),
        (of_another_kind, Outcome.INVALID, "'survey'"),
    ],
)
def test_a_measurement_that_does_not_fit_itself_is_invalid(
    spoil: Any, outcome: Outcome, reason: str
) -> None:
    record = measured(evaluation(540, 900))
    spoil(evidence_of(record, SCORE)["measurement"])
    again = judge_again(record)
    assert outcome_of(again.run, SCORE) is outcome
    assert reason in again.changes[0].reason
    assert again.run.verdict is Verdict.PARTIAL


def test_an_outcome_without_its_measurement_is_not_believed() -> None:
    record = measured(evaluation(540, 900))
    del evidence_of(record, SCORE)["measurement"]
    again = judge_again(record)
    # The answers were judged from the measurement that is gone, too.
    assert {outcome_of(again.run, id) for id in (SCORE, ANSWERS)} == {Outcome.INCONCLUSIVE}
    assert all("keeps no measurement" in change.reason for change in again.changes)


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.INVALID])
def test_what_did_not_pass_is_no_better_without_its_measurement(outcome: Outcome) -> None:
    record = changed(
        measured(evaluation(540, 900)), SCORE, outcome=outcome, reason="the engine died",
        evidence={},
    )  # fmt: skip
    again = judge_again(record)
    (found,) = [it for it in again.run.results if it.requirement == SCORE]
    assert (found.outcome, found.reason) == (outcome, "the engine died")


def test_profile_without_the_floor_is_invalid() -> None:
    record = measured(evaluation(540, 900)).model_copy(update={"profiles": {}})
    assert "has no floor of colours" in judge_again(record).changes[0].reason


@pytest.mark.parametrize(
    ("recorded", "right", "now"),
    [
        (Outcome.WAIVED, 300, Outcome.WAIVED),
        (Outcome.WAIVED, 540, Outcome.PASS),
        (Outcome.ERROR, 540, Outcome.ERROR),
        (Outcome.SKIPPED, 540, Outcome.SKIPPED),
    ],
)
def test_what_was_waived_or_never_judged(recorded: Outcome, right: int, now: Outcome) -> None:
    record = changed(measured(evaluation(right, 900)), SCORE, outcome=recorded)
    assert outcome_of(judge_again(record).run, SCORE) is now


def test_what_an_assertion_decided_stands() -> None:
    record = run(results=[result(), result("QVL-SRV-002", "FAIL", reason="expected 400")])
    again = judge_again(record)
    assert again.run.verdict is Verdict.NON_CONFORMANT
    assert (again.judged, again.changes) == (0, ())


SAME = answered(range(540), 900)
LOSSY = answered(range(40, 540), 900)
NOISY = answered([0, *range(2, 541)], 900)


@pytest.mark.parametrize(
    ("its", "outcome", "verdict", "said"),
    [
        (SAME, Outcome.PASS, Verdict.CONFORMANT, "no loss of 0.02 or more"),
        (NOISY, Outcome.PASS, Verdict.CONFORMANT, "1 items lost, 1 won"),
        (LOSSY, Outcome.FAIL, Verdict.NON_CONFORMANT, "40 items lost, 0 won"),
        (answered([*range(25, 540), *range(600, 612)], 900), Outcome.FAIL,
         Verdict.NON_CONFORMANT, "worse at 0.95"),
        (answered([*range(60, 540), *range(600, 655)], 900), Outcome.INCONCLUSIVE,
         Verdict.PARTIAL, "neither a loss nor one below 0.02"),
    ],
)  # fmt: skip
def test_against_a_baseline(its: Any, outcome: Outcome, verdict: Verdict, said: str) -> None:
    again = judge_again(measured(its), measured(SAME))
    assert outcome_of(again.run, BASELINE) is outcome
    assert again.run.verdict is verdict
    assert said in evidence_of(again.run, BASELINE)["judgement"]


def test_the_runs_own_baseline_is_kept_for_later() -> None:
    record = measured(LOSSY, baseline=SAME)
    assert outcome_of(record, BASELINE) is Outcome.FAIL
    again = judge_again(record)
    assert (again.run, again.changes) == (record, ())
    # The baseline that is given wins over it.
    assert outcome_of(judge_again(record, measured(LOSSY)).run, BASELINE) is Outcome.PASS


OTHERS = {
    "task version": answered(range(540), 900, task_versions={"colours": "2.0"}),
    "lm-eval: 0.4.13 here, 0.4.12": answered(range(540), 900, lm_eval_version="0.4.12"),
    "weights: sha256:": answered(range(540), 900, weights="sha256:" + "1" * 64),
    "does not say of which weights": answered(range(540), 900, weights=""),
    "max_images": answered(range(540), 900, max_images=3),
    "1 of the baseline's are not here": answered(range(540), 901),
    "another target in 1: colours 7": answered(range(540), 900),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_what_cannot_be_compared_says_why(reason: str) -> None:
    other = OTHERS[reason]
    if "target" in reason:
        items = list(other.items)
        items[7] = replace(items[7], target="green")
        other = replace(other, items=tuple(items))
    again = judge_again(measured(SAME), measured(other))
    assert outcome_of(again.run, BASELINE) is Outcome.INVALID
    assert reason in evidence_of(again.run, BASELINE)["judgement"]
    assert again.run.verdict is Verdict.PARTIAL


def test_nothing_to_compare_on_either_side() -> None:
    bare = measured(SAME).model_copy(update={"results": [], "planned": []})
    again = judge_again(measured(SAME), bare)
    assert outcome_of(again.run, BASELINE) is Outcome.INCONCLUSIVE
    only_serve = run(results=[result()], requirements=REQUIREMENTS)
    again = judge_again(only_serve, measured(SAME))
    assert "this run has none to compare with it" in again.changes[0].reason
    assert again.run.verdict is Verdict.PARTIAL


def test_no_margin_can_show_a_loss_and_nothing_else() -> None:
    limit = floor(items=900)
    again = judge_again(measured(SAME, limit=limit), measured(SAME, limit=limit))
    assert outcome_of(again.run, BASELINE) is Outcome.INCONCLUSIVE
    again = judge_again(measured(LOSSY, limit=limit), measured(SAME, limit=limit))
    assert outcome_of(again.run, BASELINE) is Outcome.FAIL


@pytest.mark.parametrize(
    ("right", "code"), [(540, 0), (440, 3), (300, 1)]
)  # fmt: skip
def test_command_exits_by_the_verdict(
    right: int, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stored(tmp_path, measured(evaluation(right, 900)))
    assert main(["gate", path]) == code
    output = capsys.readouterr().out
    assert "2 results judged again" in output
    assert f"{right} of 900 right" in output
    assert "otherwise" not in output


def test_command_with_a_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new, old = (stored(tmp_path, measured(it), name) for it, name in ((LOSSY, "a"), (SAME, "b")))
    assert main(["gate", new, "--baseline", old]) == 1
    assert f"{BASELINE} on" in capsys.readouterr().out
    assert main(["gate", old, "--baseline", new]) == 0
    no_judges = stored(tmp_path, run(results=[result()]), "c")
    assert main(["gate", no_judges, "--baseline", old]) == 2
    assert "compares nothing with a baseline" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("", "empty"),
        ('{"schema_version": 1, "run_id": "a", "resu', "cut off"),
        ('{"tests": []}', "no report of this suite"),
        ('{"schema_version": 99, "run_id": "a", "suite_version": "9.0"}', "or newer"),
        ("\x00\xff", "no JSON"),
        ('{"schema_version": 1, "run_id": "a"}', "does not follow schema"),
    ],
)
@pytest.mark.parametrize("as_baseline", [False, True])
def test_bad_files_are_usage_errors(
    content: str | None,
    said: str,
    as_baseline: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = tmp_path / "bad.json"
    if content is not None:
        bad.write_text(content, encoding="latin-1")
    good = stored(tmp_path, measured(SAME), "good.json")
    argv = ["gate", good, "--baseline", str(bad)] if as_baseline else ["gate", str(bad)]
    assert main(argv) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err or (content == "\x00\xff" and "not UTF-8" in output.err)


def test_results_of_a_report_are_never_empty_by_accident() -> None:
    """A report without any result is PARTIAL, whatever its file says."""
    record = run().model_copy(update={"verdict": Verdict.CONFORMANT})
    assert judge_again(record).run.verdict is Verdict.PARTIAL
    assert isinstance(record.results, list) and not any(map(Result.model_validate, record.results))
