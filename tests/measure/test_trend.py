"""The test of drift: its level where neighbours are alike, and what it finds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

from pytest_qwenvl.measure.trend import drift_of

Numbers = NDArray[np.float64]
RUNS = 2000


def loads(n: int, correlation: float, seed: int, runs: int = RUNS) -> Numbers:
    """Steady noise, a row a load, in which each value resembles the one before."""
    chance = default_rng(seed).standard_normal((runs, n))
    noise = np.empty_like(chance)
    noise[:, 0] = chance[:, 0]
    own = (1 - correlation**2) ** 0.5
    for index in range(1, n):
        noise[:, index] = correlation * noise[:, index - 1] + own * chance[:, index]
    return noise


def called_drifting(rows: Numbers, level: float) -> float:
    drifts = [drift_of(row) for row in np.exp(0.5 * rows).tolist()]
    return sum(it is not None and it.p_value <= level for it in drifts) / len(rows)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.5, 0.7, 0.8])
@pytest.mark.parametrize("n", [60, 200])
def test_steady_loads_are_called_drifting_as_seldom_as_stated(n: int, correlation: float) -> None:
    rows = loads(n, correlation, seed=11)
    for level in (0.01, 0.05):
        slack = 3 * (level * (1 - level) / RUNS) ** 0.5
        # An autocorrelation that is itself estimated costs a part of the level.
        assert called_drifting(rows, level) <= 1.25 * level + slack
    # The level of the profiles, of which 2,000 runs tell no more than the order.
    assert called_drifting(rows, 0.001) <= 0.004


def test_what_was_found_in_loads_of_a_busy_host_may_be_called_drifting_more_often() -> None:
    """Beyond what it reckons with it errs, and this says by how much."""
    assert called_drifting(loads(60, 0.9, seed=12), 0.01) <= 0.03


def drifting(shape: Callable[[Numbers], Numbers], n: int, correlation: float) -> float:
    noise = np.exp(0.15 * loads(n, correlation, seed=13, runs=400))
    drifts = [drift_of(row) for row in (noise * shape(np.arange(n) / n)).tolist()]
    return sum(it is not None and it.p_value <= 0.001 for it in drifts) / len(drifts)


@pytest.mark.parametrize(
    ("shape", "n", "correlation", "found"),
    [
        (lambda t: 1 + 6 * t, 60, 0.0, 0.95),
        (lambda t: 1 + 6 * t, 200, 0.7, 0.95),
        (lambda t: 1.5 - 0.5 * (t >= 0.5), 60, 0.0, 0.95),
        (lambda t: 1.5 - 0.5 * (t >= 0.5), 200, 0.5, 0.95),
        (lambda t: 1 + 2 * np.exp(-3 * t), 60, 0.0, 0.95),
        (lambda t: 1 + 2 * np.exp(-3 * t), 200, 0.5, 0.95),
    ],
    ids=["queue", "long queue", "step", "long step", "warming", "long warming"],
)
def test_queues_steps_and_caches_that_warm_are_found(
    shape: Callable[[Numbers], Numbers], n: int, correlation: float, found: float
) -> None:
    assert drifting(shape, n, correlation) >= found


def test_no_noise_at_all() -> None:
    line = drift_of([float(index) for index in range(40)])
    step = drift_of([1.0] * 20 + [2.0] * 20)
    assert line is not None and step is not None
    assert line.p_value < 1e-4 > step.p_value
    assert (step.first, step.second, step.size) == (1.0, 2.0, 1.0)


@pytest.mark.parametrize("n", [2, 5, 11, 12, 13, 41])
def test_values_that_are_all_alike_do_not_drift(n: int) -> None:
    drift = drift_of([1.0] * n)
    assert drift is not None
    assert (drift.p_value, drift.size, drift.correlation) == (1.0, 0.0, 0.0)


def test_too_few_values_prove_nothing() -> None:
    assert drift_of([1.0]) is None
    few = drift_of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert few is not None and few.p_value == 1.0


def test_going_up_is_as_provable_as_going_down() -> None:
    row = [float(it) for it in loads(61, 0.3, seed=14, runs=1)[0] + np.arange(61) / 20]
    up, down = drift_of(row), drift_of(row[::-1])
    assert up is not None and down is not None
    assert up.p_value == pytest.approx(down.p_value)
    assert (up.first, up.second) == (down.second, down.first)
