"""What engine, host and clock say beside a load decides whether it means anything."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_qwenvl.measure.bench_result import LoadResult
from pytest_qwenvl.measure.latency import judge_budgets, judge_latency, judge_load
from pytest_qwenvl.measure.load_evidence import as_evidence, load_from
from pytest_qwenvl.measure.surroundings import Surroundings, between, counted, running_tasks
from pytest_qwenvl.measure.trend import drift_of
from pytest_qwenvl.measure.validity import check_validity, overhead_reasons
from pytest_qwenvl.profile_fields import LatencyMetric
from pytest_qwenvl.profile_latency import LatencyWorkload
from pytest_qwenvl.protocol.prometheus import read_metrics
from pytest_qwenvl.report.results import Outcome
from tests.measure.loads import budget, looked_after, made, workload

SHAPE = workload(num_prompts=40, request_rate=10.0, output_tokens=2)
LOAD = made([0.05] * 40)


def shape_of(load: LoadResult, **kwargs: object) -> LatencyWorkload:
    return workload(num_prompts=len(load.rows), request_rate=10.0, output_tokens=2, **kwargs)


def test_a_steady_load_of_a_cold_engine_is_valid() -> None:
    assert check_validity(LOAD, SHAPE) == []


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        ({"prefix_cache_hits": 17}, "2.1% of prompt tokens came from the engine's prefix_cache"),
        ({"prefix_cache_hits": 800}, "take another --load-seed"),
        ({"requests": 41}, "finished 41 requests during a load of 40"),
        ({"requests": 39}, "finished 39 requests during a load of 40"),
        ({"requests": -3, "prompt_tokens": -60}, "went back (prompt_tokens, requests)"),
    ],
)
def test_what_the_engine_counted_makes_a_load_invalid(
    engine: dict[str, float], reason: str
) -> None:
    load = looked_after(LOAD, **engine)
    assert any(reason in each for each in check_validity(load, SHAPE))
    # It was answered in full all the same: only its latency means nothing.
    assert judge_load(load, SHAPE).outcome is Outcome.PASS
    for limit in (0.001, 1e6):
        assert judge_latency(load, SHAPE, budget(budget_ms=limit)).outcome is Outcome.INVALID


def test_a_few_cached_tokens_of_a_template_are_no_reason() -> None:
    assert check_validity(looked_after(LOAD, prefix_cache_hits=16), SHAPE) == []


def test_cached_pictures_count_where_there_are_pictures() -> None:
    load = looked_after(LOAD, mm_cache_hits=10)
    assert check_validity(load, SHAPE) == []
    (reason,) = check_validity(load, shape_of(load, images_per_request=1))
    assert "25.0% of pictures came from the engine's mm_cache" in reason


def test_a_cache_that_is_off_was_not_warm() -> None:
    load = looked_after(LOAD, prefix_cache_queries=0, mm_cache_queries=0)
    assert check_validity(load, shape_of(load, images_per_request=1)) == []


def test_unknown_caches_may_have_been_warm() -> None:
    for around, why in (
        (None, "nobody looked"),
        (Surroundings(None, "/metrics answered HTTP 404"), "HTTP 404"),
        (Surroundings({"requests": 40.0}), "does not count what its prefix_cache had"),
    ):
        (reason,) = check_validity(replace(LOAD, surroundings=around), SHAPE)
        assert why in reason


def test_counters_are_read_and_subtracted() -> None:
    text = """\
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 3.0
vllm:prefix_cache_hits_total{engine="1",model_name="m"} 4.0
vllm:prefix_cache_hits_total{engine="0",model_name="other"} 100.0
vllm:request_success_total{finished_reason="stop",model_name="m"} 5.0
vllm:request_success_total{finished_reason="length",model_name="m"} 6.0
"""
    before = counted(read_metrics(text), "m")
    assert before == {"prefix_cache_hits": 7.0, "requests": 11.0}
    after = {**before, "requests": 13.0, "preemptions": 1.0}
    assert between(before, after) == {"prefix_cache_hits": 0, "requests": 2, "preemptions": 1}


def test_running_tasks_are_per_cpu(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu 1 2 3\nprocs_running 12\nprocs_blocked 0\n")
    seen = running_tasks(stat)
    assert seen is not None
    assert 0 < seen <= 12
    stat.write_text("cpu 1 2 3\n")
    assert running_tasks(stat) is None
    assert running_tasks(tmp_path / "none") is None


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_server_that_gets_slower_or_faster_is_not_stationary(factor: float) -> None:
    chance = random.Random(1)
    ttfts = [
        0.05 * chance.lognormvariate(0, 0.2) * (factor if index >= 40 else 1) for index in range(80)
    ]
    load = made(ttfts)
    reasons = check_validity(load, shape_of(load))
    assert any("not stationary: median TTFT" in each for each in reasons)
    assert judge_latency(load, shape_of(load), budget(budget_ms=1e6)).outcome is Outcome.INVALID


def test_a_queue_that_grows_is_not_stationary() -> None:
    load = made([0.05 + 0.01 * index for index in range(40)])
    assert any("cannot keep up with the rate" in each for each in check_validity(load, SHAPE))


def test_a_proven_trend_that_is_small_does_no_harm() -> None:
    load = made([0.05 + 0.0001 * index for index in range(40)])
    drift = drift_of([row.ttft for row in load.rows])
    assert drift is not None
    assert drift.p_value < 1e-4
    assert check_validity(load, SHAPE) == []
    assert check_validity(load, shape_of(load, maximum_drift=0.01)) != []


def test_only_what_is_judged_must_be_stationary() -> None:
    load = made([0.05 + 0.01 * index for index in range(40)])
    gaps = tuple(replace(row, e2el=row.ttft + 0.01) for row in load.rows)
    load = replace(load, rows=gaps)
    assert check_validity(load, SHAPE, "ttft") != []
    assert check_validity(load, SHAPE, "tpot") == []


def test_a_burst_in_the_middle_is_no_trend() -> None:
    ttfts = [0.05 + 0.0005 * (index % 7) for index in range(80)]
    ttfts[30:50] = [0.5] * 20
    load = made(ttfts)
    assert check_validity(load, shape_of(load)) == []


@pytest.mark.parametrize(
    ("others", "stolen", "said"),
    [
        (0.6, 0.0, "the host was busy: processes that are neither engine nor client had 60% of"),
        (0.06, 0.05, "had 6% of this host's processor time, and 5% of it went to other guests"),
        (0.03, 0.0, "the host was not busy: other processes had 3% of this host's"),
        (None, None, "a server that cannot keep up with the rate queues more and more"),
    ],
)
def test_a_drift_says_whether_the_host_was_busy(
    others: float | None, stolen: float | None, said: str
) -> None:
    load = made([0.05 + 0.01 * index for index in range(40)])
    assert load.surroundings is not None
    around = replace(load.surroundings, host_others=others, host_stolen=stolen)
    load = load_from(as_evidence(replace(load, surroundings=around)))
    (reason,) = check_validity(load, SHAPE, "ttft")
    assert said in reason
    assert ("measure again while nothing else runs" in reason) is ("busy: processes" in reason)


@pytest.mark.parametrize(
    ("metric", "late", "valid"),
    [("ttft", 0.004, True), ("ttft", 0.006, False), ("e2el", 0.006, False),
     # Divided over the seven tokens after the first, the same delay is small.
     ("tpot", 0.006, True), ("tpot", 0.036, False)],
)  # fmt: skip
def test_a_client_that_is_late_by_more_than_its_share(
    metric: LatencyMetric, late: float, valid: bool
) -> None:
    load = replace(LOAD, queue_times=(late,) * 40)
    reasons = overhead_reasons(
        load, workload(output_tokens=8), budget(metric, percentile=90, budget_ms=100)
    )
    assert (reasons == []) is valid
    shape = shape_of(load, budgets=[budget(metric, percentile=90, budget_ms=100)])
    if metric != "tpot":
        outcome = judge_budgets(load, shape).outcome
        assert (outcome is not Outcome.INVALID) is valid


def test_an_older_client_is_held_against_the_engines_own_times() -> None:
    older = replace(LOAD, queue_times=())
    limit = budget(percentile=90, budget_ms=100)
    near = looked_after(older, ttft_seconds=40 * 0.048, first_tokens=40)
    far = looked_after(older, ttft_seconds=40 * 0.040, first_tokens=40)
    assert overhead_reasons(near, SHAPE, limit) == []
    assert "10 ms after the engine" in overhead_reasons(far, SHAPE, limit)[0]
    assert "use a newer vLLM" in overhead_reasons(older, SHAPE, limit)[0]
