from __future__ import annotations

import pytest

from pytest_qwenvl.report.results import NotRun, Result, Verdict
from pytest_qwenvl.report.verdict import Claim, judge, judge_run, settle, worst
from tests.report.records import MODEL, OTHER, SERVE, claim, requirement, result, run

HELD_BACK = NotRun(model=MODEL, deployment="serve-2npu", reason="needs 2 NPUs; this run has 1")


def verdict_of(
    results: list[Result], claimed: list[tuple[str, str, str]] | None = None
) -> tuple[Verdict, str]:
    _, verdict, sentence = judge(results, claimed or [], [], "", "npu", npus=1)
    return verdict, sentence


def test_all_core_passed_is_conformant() -> None:
    verdict, sentence = verdict_of([result("QVL-SRV-001"), result("QVL-SRV-002")])
    assert verdict is Verdict.CONFORMANT
    assert MODEL in sentence
    assert "2 results" in sentence


@pytest.mark.parametrize("outcome", ["ERROR", "INCONCLUSIVE", "INVALID", "SKIPPED"])
def test_any_other_core_outcome_is_partial_and_said(outcome: str) -> None:
    verdict, sentence = verdict_of(
        [result(), result("QVL-SRV-002", outcome, reason="\nthe host broke\nmore")]
    )
    assert verdict is Verdict.PARTIAL
    assert f"QVL-SRV-002 on {MODEL}/{SERVE} {outcome}: the host broke" in sentence


def test_core_fail_is_non_conformant_even_beside_errors() -> None:
    verdict, sentence = verdict_of(
        [
            result("QVL-SRV-001", "ERROR", reason="no port"),
            result("QVL-SRV-002", "FAIL", reason="expected 400, saw 200"),
        ]
    )
    assert verdict is Verdict.NON_CONFORMANT
    assert "QVL-SRV-002" in sentence
    assert "expected 400, saw 200" in sentence


def test_claimed_but_never_judged_is_partial() -> None:
    verdict, sentence = verdict_of(
        [result("QVL-SRV-001")], [(MODEL, SERVE, "QVL-SRV-001"), (MODEL, SERVE, "QVL-SRV-009")]
    )
    assert verdict is Verdict.PARTIAL
    assert "QVL-SRV-009" in sentence
    assert "never judged" in sentence


def test_extended_never_lowers_and_is_counted() -> None:
    models, verdict, _ = judge(
        [result(), result("QVL-EXT-001", "FAIL", level="extended")], [], [], "", "npu", npus=1
    )
    assert verdict is Verdict.CONFORMANT
    assert models[0].counts == {"core.PASS": 1, "extended.FAIL": 1}


def test_claimed_extended_that_was_not_judged_does_not_lower() -> None:
    claimed = [(MODEL, SERVE, "QVL-EXT-001")]
    catalogue = [requirement("QVL-EXT-001", level="extended")]
    models, verdict, _ = judge([result()], claimed, [], "", "npu", npus=1, requirements=catalogue)
    assert verdict is Verdict.CONFORMANT
    assert models[0].counts["extended.NOT_JUDGED"] == 1


def test_extended_alone_shows_nothing() -> None:
    verdict, sentence = verdict_of([result(level="extended")])
    assert verdict is Verdict.PARTIAL
    assert "no core requirement" in sentence


def test_nothing_is_never_conformant() -> None:
    models, verdict, sentence = judge([], [], [], "", "cpu", npus=2)
    assert models == []
    assert verdict is Verdict.PARTIAL
    assert "nothing was judged" in sentence


def test_results_of_the_host_alone_are_never_conformant() -> None:
    verdict, sentence = verdict_of([result("QVL-ENV-001", model="", deployment="")])
    assert verdict is Verdict.PARTIAL
    assert "no requirement of any model" in sentence


def test_failing_host_makes_the_run_fail() -> None:
    verdict, sentence = verdict_of(
        [result(), result("QVL-ENV-001", "FAIL", model="", deployment="")]
    )
    assert verdict is Verdict.NON_CONFORMANT
    assert "on host FAIL" in sentence


def test_deployment_that_could_not_run_makes_its_model_partial() -> None:
    models, verdict, sentence = judge(
        [result(), result(model=OTHER)], [], [HELD_BACK], "", "npu", npus=1
    )
    assert {model.model: model.verdict for model in models} == {
        MODEL: Verdict.PARTIAL,
        OTHER: Verdict.CONFORMANT,
    }
    assert verdict is Verdict.PARTIAL
    assert "needs 2 NPUs" in sentence


def test_model_that_could_not_run_at_all_is_judged_too() -> None:
    models, verdict, _ = judge([result(model=OTHER)], [], [HELD_BACK], "", "npu", npus=1)
    assert [model.model for model in models] == [OTHER, MODEL]
    assert verdict is Verdict.PARTIAL


def test_absent_model_is_not_judged() -> None:
    absent = NotRun(model="qwen3-vl-8b-instruct", reason="no weights at hand")
    models, verdict, _ = judge([result()], [], [absent], "", "npu", npus=1)
    assert [model.model for model in models] == [MODEL]
    assert verdict is Verdict.CONFORMANT


def test_run_has_the_worst_verdict_of_its_models() -> None:
    verdict, _ = verdict_of([result(), result(model=OTHER, outcome="FAIL", reason="x")])
    assert verdict is Verdict.NON_CONFORMANT
    assert worst([]) is Verdict.PARTIAL
    assert worst([Verdict.CONFORMANT, Verdict.PARTIAL]) is Verdict.PARTIAL


def test_worst_of_several_results_stands_for_a_claim() -> None:
    results = [result(outcome="FAIL", reason="first"), result(outcome="PASS")]
    for order in (results, results[::-1]):
        (judged,) = settle(order, [])
        assert judged.outcome == "FAIL"


@pytest.mark.parametrize(
    ("backend", "npus", "said"),
    [
        ("cpu", 2, "on the CPU backend with 2 virtual devices: no NPU was involved"),
        ("cpu", 1, "with 1 virtual device:"),
        ("npu", 4, "on 4 NPUs"),
    ],
)
@pytest.mark.parametrize("outcome", ["PASS", "FAIL", "ERROR"])
def test_sentence_names_backend_and_scope(backend: str, npus: int, said: str, outcome: str) -> None:
    _, verdict, sentence = judge([result(outcome=outcome)], [], [], "-m serve", backend, npus=npus)
    assert sentence.startswith(f"{verdict.value} within `-m serve`")
    assert said in sentence


def test_unfinished_run_is_never_conformant() -> None:
    record = judge_run(run(results=[result()], planned=[claim()], interrupted="Ctrl-C"))
    assert record.verdict is Verdict.PARTIAL
    assert record.model_verdicts[0].verdict is Verdict.PARTIAL
    assert "Ctrl-C" in record.verdict_sentence
    record = judge_run(run(results=[result()], planned=[claim()], complete=False))
    assert record.verdict is Verdict.PARTIAL
    record = judge_run(run(results=[result()], planned=[claim()]))
    assert record.verdict is Verdict.CONFORMANT


def test_unfinished_run_with_a_failure_stays_non_conformant() -> None:
    record = judge_run(run(results=[result(outcome="FAIL", reason="wrong")], interrupted="Ctrl-C"))
    assert record.verdict is Verdict.NON_CONFORMANT
    assert "Ctrl-C" in record.verdict_sentence
    assert "wrong" in record.verdict_sentence


def test_claim_reads_back_what_it_writes() -> None:
    for one in (Claim(MODEL, SERVE, "QVL-SRV-001"), Claim("", "", "QVL-ENV-001")):
        assert Claim.parse(str(one)) == one
    with pytest.raises(ValueError, match="MODEL/DEPLOYMENT REQUIREMENT"):
        Claim.parse("QVL-SRV-001")
