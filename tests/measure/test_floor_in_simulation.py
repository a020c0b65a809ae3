"""A score against a floor: how often the test errs and finds, over 2,000 simulated runs a case."""

from __future__ import annotations

import pytest
from numpy.random import default_rng

from pytest_qwenvl.measure.statistics import judge_floor, probability_at_most

RUNS = 2000


def alarms(n: int, floor: float, true_share: float, seed: int) -> float:
    """The share of runs in which a model of a true share is proven below the floor."""
    right = default_rng(seed).binomial(n, true_share, size=RUNS).tolist()
    return sum(judge_floor(count, n, floor, 0.95).below for count in right) / RUNS


def slack(share: float) -> float:
    """4 standard errors of a share of 2,000 runs."""
    return float(4 * (share * (1 - share) / RUNS) ** 0.5)


@pytest.mark.parametrize("n", [120, 900])
@pytest.mark.parametrize("floor", [0.35, 0.54, 0.85, 0.975])
@pytest.mark.parametrize("above", [0.0, 0.005])
def test_false_alarms_stay_below_the_level(n: int, floor: float, above: float) -> None:
    assert alarms(n, floor, floor + above, seed=11) <= 0.05 + slack(0.05)


@pytest.mark.parametrize("n", [120, 900])
@pytest.mark.parametrize(("floor", "loss"), [(0.54, 0.02), (0.54, 0.05), (0.975, 0.05)])
def test_power_is_as_computed(n: int, floor: float, loss: float) -> None:
    largest = judge_floor(0, n, floor, 0.95).largest_failing
    power = probability_at_most(largest, n, floor - loss)
    assert alarms(n, floor, floor - loss, seed=12) == pytest.approx(power, abs=slack(0.5))


def test_a_loss_of_a_tenth_is_found_by_900_items() -> None:
    assert alarms(900, 0.54, 0.486, seed=13) >= 0.9
