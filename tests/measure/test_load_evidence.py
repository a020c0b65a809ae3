"""A load that a report keeps gives the same judgement again, and edited ones give none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.bench_result import read_bench
from pytest_qwenvl.measure.latency import judge_budgets, judge_load
from pytest_qwenvl.measure.load_evidence import as_evidence, load_from
from pytest_qwenvl.report.judges import Case, judge_case
from pytest_qwenvl.report.results import Outcome
from tests.measure.loads import SAMPLES, TEXT, budget, looked_after, made, workload

LOAD = looked_after(read_bench(TEXT))
SHAPE = workload(budgets=[budget(percentile=50, budget_ms=100)])


def kept() -> dict[str, Any]:
    evidence: dict[str, Any] = json.loads(json.dumps(as_evidence(LOAD), allow_nan=False))
    return evidence


@pytest.mark.parametrize("name", ["bench-text.json", "bench-image.json", "bench-all-failed.json"])
def test_a_kept_load_is_judged_the_same(name: str) -> None:
    load = looked_after(read_bench(SAMPLES / name))
    again = load_from(json.loads(json.dumps(as_evidence(load))))
    assert as_evidence(again) == as_evidence(load)
    for judge in (judge_load, judge_budgets):
        first, second = judge(load, SHAPE), judge(again, SHAPE)
        assert (first.outcome, first.sentence) == (second.outcome, second.sentence)
        assert json.dumps(first.evidence, allow_nan=False)


def test_a_load_all_at_once_is_json_too() -> None:
    load = replace(LOAD, request_rate=math.inf)
    assert load_from(json.loads(json.dumps(as_evidence(load)))).request_rate == math.inf


def test_a_load_that_nobody_looked_after_is_kept() -> None:
    load = replace(LOAD, surroundings=None, failed=None, queue_times=(), seed=None)
    assert as_evidence(load_from(as_evidence(load))) == as_evidence(load)


def test_gaps_are_not_kept_but_the_longest_is() -> None:
    again = load_from(kept())
    assert not any(row.itls for row in again.rows)
    assert [row.longest_gap for row in again.rows] == [row.longest_gap for row in LOAD.rows]
    assert max(row.longest_gap for row in again.rows) > 0


def column(name: str, index: int, value: Any) -> Callable[[Any], object]:
    return lambda data: data["requests"][name].__setitem__(index, value)


UNREADABLE: dict[str, tuple[Callable[[Any], object], str]] = {
    "another kind": (lambda data: data.update(kind="evaluation"), "'evaluation', no load"),
    "no requests": (lambda data: data.pop("requests"), "no table"),
    "no column": (lambda data: data["requests"].pop("ttft"), "ttft is a NoneType"),
    "no tpot": (lambda data: data["requests"].pop("tpot"), "tpot is no column"),
    "a row short": (lambda data: data["requests"]["e2el"].pop(), "differ in length"),
    "queued short": (lambda data: data["requests"]["queued"].pop(), "11 queued for 12"),
    "NaN": (column("ttft", 0, math.nan), r"ttft\[0\] is nan"),
    "infinity": (column("e2el", 3, math.inf), r"e2el\[3\] is inf"),
    "negative": (column("ttft", 1, -0.1), r"ttft\[1\] is -0.1"),
    "text": (column("start", 1, "0"), r"start\[1\] is '0'"),
    "an answer before its first token": (column("e2el", 1, 0.0001), "request 1 has TTFT"),
    "a gap longer than the answer": (column("longest_gap", 2, 9.0), "a gap of 9.0 s"),
    "another tpot": (column("tpot", 2, 9.0), "TPOT 9.0 is not that of its row"),
    "tpot lost": (column("tpot", 2, None), "TPOT None"),
    "more completed": (lambda data: data.update(completed=13), "only 12"),
    "an error in a completed one": (column("error", 0, "gone"), "TPOT"),
    "no duration": (lambda data: data.update(duration=None), "duration is None"),
    "no rate": (lambda data: data.update(request_rate="fast"), "request_rate is 'fast'"),
    "surroundings": (lambda data: data.update(surroundings=[]), "surroundings is a list"),
    "NaN counted": (lambda data: data["surroundings"]["engine"].update(requests=math.nan),
                    "requests is nan"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_was_cut_short_or_edited_is_an_error(name: str) -> None:
    edit, problem = UNREADABLE[name]
    evidence = kept()
    edit(evidence)
    with pytest.raises(MeasurementError, match=problem):
        load_from(evidence)


def test_a_report_is_judged_by_the_profile_it_keeps() -> None:
    load = made([0.05] * 20)
    shape = workload(
        num_prompts=20, request_rate=10.0, output_tokens=2, budgets=[budget(budget_ms=60)]
    )
    profile = {"latency": [json.loads(shape.model_dump_json())]}
    case = Case(load, "serve-1npu", profile, {}, load)
    assert judge_case("load", case).outcome is Outcome.PASS
    assert judge_case("budgets", case).outcome is Outcome.PASS
    assert judge_case("latency-baseline", case).outcome is Outcome.INCONCLUSIVE
    with pytest.raises(MeasurementError, match="no workload of text"):
        judge_case("load", replace(case, deployment="serve-2npu"))
    with pytest.raises(MeasurementError, match="expected an evaluation"):
        judge_case("score", case)
    profile["latency"][0]["request_rate"] = "fast"
    with pytest.raises(MeasurementError, match="cannot be read: request_rate"):
        judge_case("load", case)


def test_goodput_counts_what_keeps_every_budget() -> None:
    load = made([0.05] * 15 + [0.2] * 5)
    shape = workload(
        num_prompts=20, request_rate=10.0, output_tokens=2, maximum_drift=10.0,
        budgets=[budget(budget_ms=100), budget("e2el", budget_ms=55, vouched=False)],
    )  # fmt: skip
    assert judge_budgets(load, shape).evidence["goodput"]["requests"] == 0
    loose = shape.model_copy(update={"budgets": shape.budgets[:1]})
    judgement = judge_budgets(load, loose)
    good = judgement.evidence["goodput"]
    assert (good["requests"], good["share"]) == (15, 0.75)
    assert good["share_interval"][0] < 0.75 < good["share_interval"][1]
    low, high = judgement.evidence["intervals_ms"]["ttft"]["p50"]
    assert low == high == 50
    assert judgement.evidence["percentiles_ms"]["ttft"]["p50"] == 50


def test_without_a_budget_for_the_hardware_nothing_is_gated() -> None:
    load = made([0.05] * 20)
    shape = workload(
        num_prompts=20, request_rate=10.0, output_tokens=2,
        budgets=[budget().model_copy(update={"hardware": "a2"})],
    )  # fmt: skip
    judgement = judge_budgets(load, shape)
    assert judgement.outcome is Outcome.SKIPPED
    assert judgement.evidence["budgets"] == []
    assert judgement.evidence["percentiles_ms"]["ttft"]["p99"] == 50
