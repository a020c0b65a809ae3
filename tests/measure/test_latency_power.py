"""How often judging is wrong and how often it finds what is there: 2,000 simulated runs a case."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from pytest_qwenvl.measure.latency import judge_latency
from pytest_qwenvl.measure.latency_baseline import judge_against_baseline
from pytest_qwenvl.measure.ratio import pauses_of, ratio_of
from pytest_qwenvl.measure.statistics import judge_percentile, quantile
from pytest_qwenvl.profile_latency import LatencyMargin
from pytest_qwenvl.report.results import Outcome
from tests.measure.loads import budget, made, workload

RUNS = 2000
SIGMA = 0.25
# p90 of a lognormal with this spread, as a multiple of its median.
P90 = 1.3776
CONFIDENCE = 0.95


def _most(level: float) -> int:
    """More wrong judgements than this come up in one case in a thousand at ``level``."""
    return quantile(0.999, RUNS, level)


def _counts(factor: float, n: int, seed: int) -> Counter[str]:
    """Judgements of a server whose p90 is ``factor`` times the budget."""
    chance = random.Random(seed)
    limit = P90 / factor
    found: Counter[str] = Counter()
    for _ in range(RUNS):
        over = sum(chance.lognormvariate(0, SIGMA) > limit for _ in range(n))
        found[judge_percentile(over, n, 90, CONFIDENCE).evidence] += 1
    return found


@pytest.mark.parametrize("n", [60, 200])
def test_at_the_budget_neither_direction_is_proven_too_often(n: int) -> None:
    found = _counts(1.0, n, seed=n)
    assert found["over"] <= _most(1 - CONFIDENCE)
    assert found["within"] <= _most(1 - CONFIDENCE)
    # The test is not vacuous: it does err, nearly as often as it may.
    assert found["over"] > 0 < found["within"]


@pytest.mark.parametrize("n", [60, 200])
def test_just_within_the_budget_is_seldom_called_over(n: int) -> None:
    found = _counts(0.97, n, seed=n + 1)
    assert found["over"] <= _most(1 - CONFIDENCE)


def test_twenty_per_cent_over_the_budget_is_found() -> None:
    found = _counts(1.2, 200, seed=2)
    # A fifth over budget, 29 % of requests are over it; 200 requests show that nearly always.
    assert found["over"] >= 0.99 * RUNS
    assert found["within"] == 0
    assert _counts(1.2, 60, seed=3)["over"] >= 0.9 * RUNS


def test_twenty_per_cent_within_the_budget_is_proven() -> None:
    found = _counts(1 / 1.2, 200, seed=4)
    assert found["within"] >= 0.95 * RUNS
    assert found["over"] == 0


def test_whole_judgements_keep_the_same_promises() -> None:
    """The way through validity and evidence changes nothing: fewer runs, each a whole load."""
    chance = random.Random(6)
    shape = workload(num_prompts=100, request_rate=10.0, output_tokens=2)
    outcomes: dict[float, Counter[Outcome]] = {1.0: Counter(), 1.2: Counter()}
    for factor, found in outcomes.items():
        limit = budget(percentile=90, budget_ms=50 * P90 / factor)
        for _ in range(100):
            load = made([0.05 * chance.lognormvariate(0, SIGMA) for _ in range(100)])
            found[judge_latency(load, shape, limit).outcome] += 1
    assert outcomes[1.0][Outcome.FAIL] <= 13
    assert outcomes[1.0][Outcome.PASS] <= 13
    assert outcomes[1.2][Outcome.FAIL] >= 97


def _samples(chance: random.Random, n: int, factor: float, sigma: float = 0.15) -> list[float]:
    return [factor * chance.lognormvariate(0, sigma) for _ in range(n)]


@pytest.mark.parametrize(("n", "percentile"), [(20, 50.0), (60, 50.0), (200, 50.0), (200, 95.0)])
def test_a_true_ratio_lies_within_its_bounds(n: int, percentile: float) -> None:
    chance = random.Random(8)
    above = below = 0
    for _ in range(RUNS):
        new, old = _samples(chance, n, 1.1, 0.4), _samples(chance, n, 1.0, 0.4)
        ratio = ratio_of(new, old, percentile, slower=0.95, within=0.95)
        assert ratio.low is not None
        assert ratio.high is not None
        above += ratio.low > 1.1
        below += ratio.high < 1.1
    assert above <= _most(0.05)
    assert below <= _most(0.05)


def test_pauses_of_equal_runs_seldom_differ() -> None:
    chance = random.Random(9)
    differ = found = 0
    for _ in range(RUNS):
        old, new = _samples(chance, 200, 1.0), _samples(chance, 200, 1.0)
        differ += pauses_of(new, old, allowed=1.0).p_value <= 0.01
        new[19::20] = [it + 10 for it in new[19::20]]
        found += pauses_of(new, old, allowed=1.0).p_value <= 0.01 / 3
    assert differ <= _most(0.01)
    assert found >= 0.95 * RUNS


@pytest.mark.parametrize(
    ("factor", "least", "most"),
    [
        (1.0, 0, _most(0.01)),
        (1.05, 0, _most(0.01)),  # As slow as the margin allows.
        (1.2, int(0.95 * RUNS), RUNS),
    ],
)
def test_a_run_is_called_slower_as_often_as_it_may_be(factor: float, least: int, most: int) -> None:
    chance = random.Random(round(1000 * factor))
    margin = LatencyMargin(value=0.05, source="invented for this test")
    shape = workload(num_prompts=200, request_rate=10.0, output_tokens=2, margin=margin)
    slower = 0
    for _ in range(RUNS):
        new = made(_samples(chance, 200, 0.05 * factor))
        old = made(_samples(chance, 200, 0.05))
        slower += judge_against_baseline(new, old, shape).outcome is Outcome.FAIL
    assert least <= slower <= most
