"""Two loads compared: slower ones are found, the same server is not called different."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from pytest_qwenvl.measure.bench_result import LoadResult
from pytest_qwenvl.measure.latency_baseline import judge_against_baseline
from pytest_qwenvl.measure.ratio import pauses_of, ratio_of
from pytest_qwenvl.profile_latency import LatencyMargin, LatencyWorkload
from pytest_qwenvl.report.results import Outcome
from tests.measure.loads import budget, looked_after, made, workload

N = 200
MARGIN = LatencyMargin(value=0.05, source="invented for this test")


def shape(margin: LatencyMargin | None = MARGIN, n: int = N) -> LatencyWorkload:
    return workload(
        num_prompts=n, request_rate=10.0, output_tokens=2, margin=margin,
        budgets=[budget(percentile=90, budget_ms=1000)],
    )  # fmt: skip


def drawn(chance: random.Random, *, slower: float = 1.0, stalls: int = 0, n: int = N) -> LoadResult:
    """A load of a server with a median TTFT of 50 ms; one request in ``stalls`` waits 0.5 s."""
    ttfts = [0.05 * slower * chance.lognormvariate(0, 0.15) for _ in range(n)]
    if stalls:
        ttfts[stalls - 1 :: stalls] = [it + 0.5 for it in ttfts[stalls - 1 :: stalls]]
    return made(ttfts)


def test_a_fifth_slower_is_found_with_the_sentence_that_says_so() -> None:
    chance = random.Random(1)
    judgement = judge_against_baseline(drawn(chance, slower=1.2), drawn(chance), shape())
    assert judgement.outcome is Outcome.FAIL
    assert "slower by more than 5% at 0.99 confidence in the median" in judgement.sentence
    low, high = judgement.evidence["median_ratio"]["bounds"]
    assert 1.05 < low < 1.2 < high
    json.dumps(judgement.evidence, allow_nan=False)


def test_no_slower_on_a_busier_host_is_no_slower() -> None:
    steady = [0.05 + 0.0001 * (index % 11) for index in range(N)]
    busy, calm = looked_after(made(steady), 6.0), looked_after(made(steady), 1.0)
    assert judge_against_baseline(busy, calm, shape()).outcome is Outcome.PASS
    assert judge_against_baseline(calm, busy, shape()).outcome is Outcome.INCONCLUSIVE


def test_stalls_are_found_on_a_host_that_was_busy_both_times() -> None:
    chance = random.Random(2)
    stalling, quiet = drawn(chance, stalls=20), drawn(chance)
    judgement = judge_against_baseline(
        looked_after(stalling, 7.4), looked_after(quiet, 7.5), shape()
    )
    assert judgement.outcome is Outcome.FAIL
    assert judgement.evidence["slower"] == ["how often requests were held up"]
    unlike = judge_against_baseline(looked_after(stalling, 7.4), looked_after(quiet, 1), shape())
    assert unlike.outcome is Outcome.INCONCLUSIVE


def test_one_stall_in_twenty_is_found_though_the_median_is_the_same() -> None:
    chance = random.Random(2)
    judgement = judge_against_baseline(drawn(chance, stalls=20), drawn(chance), shape())
    assert judgement.outcome is Outcome.FAIL
    assert judgement.evidence["slower"] == ["how often requests were held up"]
    assert (judgement.evidence["held_up"]["new"], judgement.evidence["held_up"]["old"]) == (10, 0)


def test_the_same_again_is_no_slower() -> None:
    chance = random.Random(3)
    steady = [0.05 + 0.0001 * (index % 11) for index in range(N)]
    assert judge_against_baseline(made(steady), made(steady), shape()).outcome is Outcome.PASS
    first, second = drawn(chance), drawn(chance)
    judgement = judge_against_baseline(first, second, shape())
    assert judgement.outcome is Outcome.INCONCLUSIVE
    assert "it takes more requests, or runs that vary less" in judgement.sentence


def test_a_faster_run_is_no_slower() -> None:
    chance = random.Random(4)
    judgement = judge_against_baseline(drawn(chance, slower=0.5), drawn(chance), shape())
    assert judgement.outcome is Outcome.PASS


def test_without_a_margin_nothing_is_proven_no_slower() -> None:
    steady = [0.05 + 0.0001 * (index % 11) for index in range(N)]
    judgement = judge_against_baseline(made(steady), made(steady), shape(None))
    assert judgement.outcome is Outcome.INCONCLUSIVE
    assert "states no margin" in judgement.sentence
    slower = made([it * 1.1 for it in steady])
    assert judge_against_baseline(slower, made(steady), shape(None)).outcome is Outcome.FAIL
    assert judge_against_baseline(made(steady), slower, shape(None)).outcome is not Outcome.FAIL


def test_a_busier_host_proves_nothing() -> None:
    chance = random.Random(1)
    slow, quick = drawn(chance, slower=1.5), drawn(chance)
    assert judge_against_baseline(slow, quick, shape()).outcome is Outcome.FAIL
    for busy, calm in ((1.9, 1.2), (1.2, 1.9), (2.5, 2.5)):
        judgement = judge_against_baseline(
            looked_after(slow, busy), looked_after(quick, calm), shape()
        )
        assert judgement.outcome is Outcome.INCONCLUSIVE
        assert "while there are fewer than 2" in judgement.sentence
    alike = judge_against_baseline(looked_after(slow, 1.9), looked_after(quick, 1.6), shape())
    assert alike.outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"workload": "image"}, "workload: text here, image in the baseline"),
        ({"hardware": "a2"}, "hardware: cpu here, a2 in the baseline"),
        ({"npus": 2}, "devices: 1 here, 2 in the baseline"),
        ({"num_prompts": 100}, "requests: 200 here, 100 in the baseline"),
        ({"request_rate": 5.0}, "requests/s: 10.0 here, 5.0 in the baseline"),
        ({"failed": 1}, "the baseline: 1 requests failed"),
        ({"surroundings": None}, "the baseline: the engine's counters are unknown"),
    ],
)
def test_what_cannot_be_compared_is_not(change: dict[str, object], reason: str) -> None:
    chance = random.Random(5)
    slow, quick = drawn(chance, slower=2.0), drawn(chance)
    judgement = judge_against_baseline(slow, replace(quick, **change), shape())  # type: ignore[arg-type]
    assert judgement.outcome is Outcome.INVALID
    assert reason in judgement.sentence


def test_longer_prompts_cannot_be_compared() -> None:
    chance = random.Random(6)
    quick = drawn(chance)
    rows = tuple(replace(row, input_len=40) for row in quick.rows)
    judgement = judge_against_baseline(
        looked_after(replace(quick, rows=rows)), drawn(chance), shape()
    )
    assert judgement.outcome is Outcome.INVALID
    assert "prompt tokens: 8000 here, 4000 in the baseline" in judgement.sentence


def test_too_few_requests_bound_nothing() -> None:
    chance = random.Random(7)
    few = shape(n=5)
    slow, quick = drawn(chance, slower=2.0, n=5), drawn(chance, n=5)
    judgement = judge_against_baseline(slow, quick, few)
    assert judgement.outcome is Outcome.INCONCLUSIVE
    assert judgement.evidence["median_ratio"]["bounds"] == [None, None]


def test_no_slower_needs_fewer_requests_than_the_split_error_would() -> None:
    steady = [0.05 + 0.0001 * (index % 11) for index in range(48)]
    judgement = judge_against_baseline(made(steady), made(steady), shape(n=48))
    assert judgement.outcome is Outcome.PASS
    low, high = judgement.evidence["percentile_ratio"]["bounds"]
    assert low is None
    assert high is not None


def test_requests_held_up_together_count_once() -> None:
    quiet = [0.05 + 0.0001 * (index % 11) for index in range(N)]
    pause = list(quiet)
    pause[50:57] = [1.0] * 7
    together = pauses_of(pause, quiet, allowed=1.0)
    assert together.new == 1
    assert together.p_value >= 0.5
    apart = list(quiet)
    apart[::28] = [1.0] * 8
    assert pauses_of(apart, quiet, allowed=1.0).p_value < 0.005


def test_a_ratio_needs_times() -> None:
    for new, old in (([], [1.0]), ([0.0], [1.0]), ([1.0], [-1.0])):
        with pytest.raises(ValueError, match="above 0"):
            ratio_of(new, old, 50, slower=0.95, within=0.95)
