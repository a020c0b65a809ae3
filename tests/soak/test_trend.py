"""Growth is told from what looks like it: how often clean series are accused, and leaks found."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from pytest_qwenvl.measure.soak_trend import SAMPLES_IN_SPAN, SPANS, Growth, Tolerance, growth_of
from tests.soak import shapes
from tests.soak.shapes import CLEAN, SECONDS, TIMES, Shape, leaking, stairs

TOLERANCE = Tolerance(hourly=64.0, least=24.0, confidence=0.99)
WARM_UP = SECONDS / 4
SERIES = 2080
"""Clean series in all, as many of each shape."""


def judged(shape: Shape, draw: np.random.Generator, comparisons: int = 1) -> Growth:
    values = shape(draw)
    return growth_of(
        TIMES.tolist(), values.tolist(), TOLERANCE, warm_up=WARM_UP, comparisons=comparisons
    )


def findings(shape: Shape, times: int, seed: int = 7) -> Counter[str]:
    draw = np.random.default_rng(seed)
    return Counter(judged(shape, draw).finding for _ in range(times))


def test_clean_series_are_accused_no_more_often_than_stated() -> None:
    each = SERIES // len(CLEAN)
    accused = {shape.__name__: findings(shape, each)["grows"] for shape in CLEAN}
    assert sum(accused.values()) <= (1 - TOLERANCE.confidence) * SERIES, accused
    # No shape hides behind the others: three standard deviations above the level for one of them.
    level = 1 - TOLERANCE.confidence
    most = level * each + 3 * math.sqrt(level * each)
    assert max(accused.values()) <= most, accused


@pytest.mark.parametrize(
    ("shape", "share"),
    [
        (leaking(150, shapes.constant), 1.0),
        (leaking(200, shapes.noise), 0.9),
        (leaking(300, shapes.noise), 0.95),
        (leaking(500, shapes.correlated), 0.8),
        (leaking(800, shapes.random_walk), 0.7),
        (stairs(300, 120), 0.9),
    ],
    ids=["exact", "200 in noise", "300 in noise", "500 correlated", "800 walking", "stairs"],
)
def test_leaks_are_found(shape: Shape, share: float) -> None:
    found = findings(shape, 60)
    assert found["grows"] >= share * 60, found
    assert found["level"] <= 1, found


@pytest.mark.parametrize("shape", [shapes.constant, shapes.noise, shapes.spiked, shapes.tolerated])
def test_clean_series_are_called_level(shape: Shape) -> None:
    assert findings(shape, 40)["level"] >= 39


def test_what_rose_and_came_to_rest_is_level() -> None:
    values = 1000 + 300 * (TIMES > SECONDS * 0.4)
    values[::2] += 1
    found = growth_of(TIMES.tolist(), values.tolist(), TOLERANCE, warm_up=WARM_UP)
    assert found.finding == "level"
    assert found.grown >= 299


def test_slowing_growth_is_not_called_a_leak() -> None:
    values = 1000 + 400 * (1 - np.exp(-TIMES / (SECONDS / 2)))
    found = growth_of(TIMES.tolist(), values.tolist(), TOLERANCE, warm_up=WARM_UP)
    assert found.finding == "cannot tell"
    assert found.why == "its growth is slowing"
    assert found.minutes_needed == 2 * SECONDS / 60


def test_too_few_samples_say_how_long_it_takes() -> None:
    times = [5.0 * number for number in range(20)]
    found = growth_of(times, [9.0] * 20, TOLERANCE, warm_up=30.0)
    assert found.finding == "cannot tell"
    assert "14 samples after the warm-up" in found.why
    assert found.minutes_needed is not None
    long_enough = [5.0 * number for number in range(int(found.minutes_needed * 12))]
    again = growth_of(long_enough, [9.0] * len(long_enough), TOLERANCE, warm_up=30.0)
    assert again.finding == "level"


def test_nothing_is_level_without_samples() -> None:
    assert growth_of([], [], TOLERANCE, warm_up=0.0).finding == "cannot tell"
    assert growth_of([1.0], [5.0], TOLERANCE, warm_up=0.0).minutes_needed is None


def test_noise_says_how_long_it_takes() -> None:
    found = judged(leaking(70, shapes.correlated), np.random.default_rng(1))
    assert found.finding == "cannot tell"
    assert found.minutes_needed is not None and found.minutes_needed > SECONDS / 60
    assert found.low < 64 < found.high


def test_a_little_growth_within_little_time_is_none() -> None:
    # A hundred an hour, but three MiB in all: any process does that in its first minutes.
    times = [2.0 * number for number in range(60)]
    values = [1000 + 100 * at / 3600 for at in times]
    found = growth_of(times, values, TOLERANCE, warm_up=10.0)
    assert found.finding == "cannot tell"
    assert "least amount" in found.why


def test_more_series_are_judged_more_strictly() -> None:
    draw = np.random.default_rng(3)
    one = judged(shapes.noise, draw)
    many = judged(shapes.noise, np.random.default_rng(3), comparisons=20)
    assert many.low < one.low and many.high > one.high


def test_the_warm_up_is_not_judged() -> None:
    values = np.where(TIMES < WARM_UP, 3000 * TIMES / SECONDS, 750.0)
    found = growth_of(TIMES.tolist(), values.tolist(), TOLERANCE, warm_up=WARM_UP)
    assert found.finding == "level"
    assert (found.hourly, found.grown) == (0.0, 0.0)


def test_columns_must_fit() -> None:
    with pytest.raises(ValueError, match="3 times and 2 values"):
        growth_of([1.0, 2.0, 3.0], [1.0, 2.0], TOLERANCE, warm_up=0.0)


def test_the_spans_need_what_is_asked_of_them() -> None:
    """With so few spans no count of rises could reach the level, and nothing would be found."""
    assert (1 - TOLERANCE.confidence) / 20 > 0.5 ** (SPANS - 1)
    assert SAMPLES_IN_SPAN % 2, "the median of a span is one of its samples"
