"""Exact tests against published numbers, first principles, and simulation with fixed seeds."""

from __future__ import annotations

import math
import random

import pytest

from pytest_qwenvl.measure.statistics import (
    interval,
    judge_floor,
    judge_percentile,
    lower_bound,
    percentile_interval,
    percentile_of,
    sample_to_decide,
    smallest_sample,
    upper_bound,
)

SAMPLES = {
    (50, 0.95): (5, 8, 11), (90, 0.95): (29, 46, 61),
    (95, 0.95): (59, 93, 124), (99, 0.95): (299, 473, 628),
    (50, 0.99): (7, 11, 14), (90, 0.99): (44, 64, 81),
    (95, 0.99): (90, 130, 165), (99, 0.99): (459, 662, 838),
}  # fmt: skip


def binomial_at_most(count: int, n: int, share: float) -> float:
    return math.fsum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(count + 1))


@pytest.mark.parametrize(("percentile", "confidence"), SAMPLES)
def test_smallest_sample_is_the_table(percentile: int, confidence: float) -> None:
    found = tuple(smallest_sample(percentile, confidence, over) for over in range(3))
    assert found == SAMPLES[percentile, confidence]


@pytest.mark.parametrize(("percentile", "confidence"), SAMPLES)
@pytest.mark.parametrize("over", range(3))
def test_smallest_sample_proves_and_one_less_does_not(
    percentile: int, confidence: float, over: int
) -> None:
    n = smallest_sample(percentile, confidence, over)
    assert judge_percentile(over, n, percentile, confidence).evidence == "within"
    assert judge_percentile(over, n - 1, percentile, confidence).evidence != "within"
    assert judge_percentile(over + 1, n, percentile, confidence).evidence != "within"


def test_bounds_are_where_the_tails_are() -> None:
    assert binomial_at_most(3, 50, upper_bound(3, 50, 0.95)) == pytest.approx(0.05)
    assert 1 - binomial_at_most(2, 50, lower_bound(3, 50, 0.95)) == pytest.approx(0.05)
    # The rule of three, exactly: 1 - 0.05 ** (1 / n).
    assert upper_bound(0, 299, 0.95) == pytest.approx(1 - 0.05 ** (1 / 299))
    assert lower_bound(0, 10, 0.95) == 0
    assert upper_bound(10, 10, 0.95) == 1
    assert interval(45, 90, 0.95) == (lower_bound(45, 90, 0.975), upper_bound(45, 90, 0.975))


@pytest.mark.parametrize("n", [1, 7, 120, 900])
@pytest.mark.parametrize("floor", [0.02, 0.25, 0.54, 0.98])
def test_floor_false_alarm_is_bounded_exactly(n: int, floor: float) -> None:
    largest = judge_floor(0, n, floor, 0.95).largest_failing
    if largest >= 0:
        assert judge_floor(largest, n, floor, 0.95).below
        assert binomial_at_most(largest, n, floor) <= 0.05
    assert not judge_floor(largest + 1, n, floor, 0.95).below
    assert binomial_at_most(largest + 1, n, floor) > 0.05


def test_floor_false_alarms_and_power_in_simulation() -> None:
    generator = random.Random(5)
    n, floor, runs = 200, 0.8, 2000

    def failing(share: float) -> int:
        return sum(
            judge_floor(sum(generator.random() < share for _ in range(n)), n, floor, 0.95).below
            for _ in range(runs)
        )

    limit = judge_floor(0, n, floor, 0.95).largest_failing
    level = binomial_at_most(limit, n, floor)
    power = binomial_at_most(limit, n, 0.7)
    assert level <= 0.05
    # Four standard errors of a simulation with a fixed seed.
    assert abs(failing(floor) / runs - level) < 4 * math.sqrt(level * (1 - level) / runs)
    assert abs(failing(0.7) / runs - power) < 4 * math.sqrt(power * (1 - power) / runs)
    assert power > 0.9


def test_percentile_verdicts_in_simulation() -> None:
    generator = random.Random(6)
    n, runs = 700, 1000

    def verdicts(share_over: float) -> dict[str, int]:
        counts = {"within": 0, "over": 0, "cannot tell": 0}
        for _ in range(runs):
            over = sum(generator.random() < share_over for _ in range(n))
            counts[judge_percentile(over, n, 99, 0.95).evidence] += 1
        return counts

    at_limit = verdicts(0.01)
    slack = 4 * math.sqrt(0.05 * 0.95 * runs)
    assert at_limit["within"] <= 0.05 * runs + slack
    assert at_limit["over"] <= 0.05 * runs + slack
    assert verdicts(0.05)["over"] > 0.99 * runs
    assert verdicts(0.0001)["within"] > 0.99 * runs


@pytest.mark.parametrize(
    ("over", "n", "evidence"),
    [(0, 459, "within"), (0, 298, "cannot tell"), (0, 1, "cannot tell"), (20, 700, "over"),
     (700, 700, "over"), (12, 12, "over")],
)  # fmt: skip
def test_percentile_evidence(over: int, n: int, evidence: str) -> None:
    assert judge_percentile(over, n, 99, 0.95).evidence == evidence


def test_what_it_takes_to_decide() -> None:
    assert sample_to_decide(0, 12, 99, 0.95) == 299
    assert sample_to_decide(1, 200, 99, 0.95) is not None
    needed = sample_to_decide(1, 200, 99, 0.95)
    assert needed is not None
    assert judge_percentile(math.ceil(needed / 200), needed, 99, 0.95).evidence == "within"
    assert sample_to_decide(2, 200, 99, 0.95) is None
    assert sample_to_decide(5, 200, 99, 0.95) is None


def test_percentile_is_linear_interpolation() -> None:
    assert percentile_of([4, 1, 3, 2], 50) == 2.5
    assert percentile_of([1, 2], 99) == pytest.approx(1.99)
    assert percentile_of([7], 99) == 7
    assert percentile_of([1, 2, 3], 100) == 3


def test_percentile_interval_of_the_textbook() -> None:
    median = percentile_interval(list(range(1, 101)), 50, 0.95)
    assert (median.low, median.high) == (40, 61)
    small = percentile_interval(list(range(12)), 99, 0.95)
    assert small.high is None
    assert percentile_interval([3.0], 50, 0.95).low is None


def test_percentile_interval_covers() -> None:
    generator = random.Random(7)
    truth, runs = math.log(10), 1000  # p90 of the exponential distribution
    covered = 0
    for _ in range(runs):
        found = percentile_interval([generator.expovariate(1) for _ in range(150)], 90, 0.95)
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.estimate <= found.high
        covered += found.low <= truth <= found.high
    assert covered >= 0.95 * runs - 4 * math.sqrt(0.05 * 0.95 * runs)
    assert covered < runs


@pytest.mark.parametrize("count", [-1, 11])
def test_impossible_counts(count: int) -> None:
    for call in (
        lambda: judge_floor(count, 10, 0.5, 0.95),
        lambda: judge_percentile(count, 10, 99, 0.95),
        lambda: upper_bound(count, 10, 0.95),
        lambda: lower_bound(count, 10, 0.95),
        lambda: sample_to_decide(count, 10, 99, 0.95),
    ):
        with pytest.raises(ValueError, match="0 <= count <= n"):
            call()


def test_impossible_arguments() -> None:
    with pytest.raises(ValueError, match="confidence"):
        judge_floor(1, 2, 0.5, 1.0)
    with pytest.raises(ValueError, match="floor"):
        judge_floor(1, 2, 1.5, 0.95)
    with pytest.raises(ValueError, match="percentile"):
        smallest_sample(100, 0.95)
    with pytest.raises(ValueError, match="more than"):
        smallest_sample(99.99999999, 0.95)
    with pytest.raises(ValueError, match="no values"):
        percentile_of([], 50)
