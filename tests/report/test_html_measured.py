"""The plots read what the accuracy and latency requirements really write."""

from __future__ import annotations

from pytest_qwenvl.measure import accuracy_evidence, load_evidence
from pytest_qwenvl.measure.latency import judge_latency
from pytest_qwenvl.measure.load_evidence import load_from
from pytest_qwenvl.report.html_measured import loads_of, scores_of
from pytest_qwenvl.report.measurements import BASELINE, MEASUREMENT
from pytest_qwenvl.report.results import Result
from tests.measure.evaluations import answered
from tests.measure.loads import budget, looked_after, made, workload
from tests.report.records import result, run


def latency(requirement: str, outcome: str = "PASS", **evidence: object) -> Result:
    return result(requirement, outcome, group="latency", evidence=evidence)


def test_a_kept_load_is_drawn_request_by_request():
    whole = looked_after(made([0.1, 0.2, 0.3, 0.4]))
    kept = load_evidence.as_evidence(whole)
    assert len(load_from(kept).rows) == 4, "it is what gate reads"
    judged = judge_latency(whole, workload(num_prompts=4, request_rate=10.0), budget())
    record = run(
        results=[
            latency("QVL-LAT-001", workload="text", **{MEASUREMENT: kept}),
            latency(
                "QVL-LAT-002",
                workload="text",
                budgets=[{"judgement": judged.sentence, **judged.evidence}],
                **{MEASUREMENT: "load text"},
            ),
            latency(
                "QVL-LAT-003",
                "FAIL",
                judgement="slower",
                **{MEASUREMENT: "load text", BASELINE: kept},
            ),
        ]
    )
    (shown,) = loads_of(record)
    series = {it.metric: it for it in shown.series}
    assert series["ttft"].values == (100.0, 200.0, 300.0, 400.0)
    assert series["ttft"].earlier == series["ttft"].values
    assert set(series) == {"ttft", "tpot", "e2el"}
    assert [it.budget_ms for it in shown.budgets] == [500]
    assert (shown.requirement, shown.outcome, shown.sentence) == ("QVL-LAT-003", "FAIL", "slower")


def test_a_kept_evaluation_is_compared_item_by_item():
    now, before = answered({0, 1}, 4), answered({1, 2}, 4)
    record = run(
        results=[
            result(
                "QVL-ACC-001",
                group="accuracy",
                evidence={
                    "task": "colours",
                    "floor": 0.4,
                    "score": now.score,
                    "judgement": "not below",
                    MEASUREMENT: accuracy_evidence.as_evidence(now),
                },
            ),
            result(
                "QVL-ACC-004",
                "INCONCLUSIVE",
                group="accuracy",
                evidence={
                    "judgement": "cannot tell",
                    MEASUREMENT: "evaluation colours",
                    BASELINE: accuracy_evidence.as_evidence(before),
                },
            ),
        ]
    )
    (scored,) = scores_of(record)
    assert [it.right for it in scored.items] == [True, True, False, False]
    assert [it.right for it in scored.earlier_items] == [False, True, True, False]
    assert (scored.n, scored.floor, scored.earlier_score) == (4, 0.4, before.score)
    assert (scored.requirement, scored.sentence) == ("QVL-ACC-004", "cannot tell")
