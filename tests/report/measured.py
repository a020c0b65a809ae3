"""Reports with evaluations in them, whole and judged as a run judges them."""

from __future__ import annotations

from typing import Any

from pytest_qwenvl.measure.accuracy_evidence import as_evidence
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.report.judges import Case, judge_case
from pytest_qwenvl.report.results import Outcome, Result, RunRecord
from pytest_qwenvl.report.verdict import judge_run
from tests.measure.evaluations import evaluation, floor
from tests.report.records import MODEL, claim, requirement, run

OFFLINE = "offline-1npu"
SCORE, ANSWERS, BASELINE = "QVL-ACC-001", "QVL-ACC-003", "QVL-ACC-004"
JUDGES = {SCORE: "score", ANSWERS: "answers", BASELINE: "baseline"}
REQUIREMENTS = [requirement(id, group="accuracy", judge=judge) for id, judge in JUDGES.items()]
FLOOR = floor(items=900, floor=0.5, margin={"value": 0.02, "source": "invented here"})


def measured(
    its: Evaluation | None = None,
    *,
    limit: AccuracyFloor = FLOOR,
    baseline: Evaluation | None = None,
    model: str = MODEL,
    **fields: Any,
) -> RunRecord:
    """A finished run whose score and answers, and with a baseline both, were judged."""
    its = its or evaluation(540, 900)
    profile = {"accuracy": [limit.model_dump(mode="json")]}
    results = []
    for id, judge in JUDGES.items():
        if judge == "baseline" and baseline is None:
            continue
        judgement = judge_case(judge, Case(its, OFFLINE, profile, {}, baseline))
        evidence: dict[str, Any] = {**judgement.evidence, "judgement": judgement.sentence}
        evidence["measurement"] = as_evidence(its) if id == SCORE else f"evaluation {its.task}"
        if judge == "baseline" and baseline is not None:
            evidence["baseline_measurement"] = as_evidence(baseline)
        results.append(
            Result(
                requirement=id, group="accuracy", level="core", test=f"test_accuracy.py::{judge}",
                model=model, deployment=OFFLINE, outcome=judgement.outcome,
                reason="" if judgement.outcome is Outcome.PASS else judgement.sentence,
                evidence=evidence,
            )
        )  # fmt: skip
    values: dict[str, Any] = {
        "requirements": REQUIREMENTS,
        "profiles": {model: profile},
        "planned": [claim(it.requirement, model, OFFLINE) for it in results],
        "results": results,
    }
    return judge_run(run(**{**values, **fields}))
