"""Series of an hour, a sample every five seconds: clean ones of many shapes, and leaks (MiB)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Shape = Callable[[np.random.Generator], Numbers]

SECONDS = 3600.0
SAMPLES = 720
TIMES: Numbers = np.linspace(0.0, SECONDS, SAMPLES)
HOURS: Numbers = TIMES / 3600.0
_BASE = 1000.0


def _autocorrelated(draw: np.random.Generator, share: float, deviation: float) -> Numbers:
    steps = draw.normal(0, deviation * np.sqrt(1 - share**2), SAMPLES)
    found = np.empty(SAMPLES)
    value = draw.normal(0, deviation)
    for index, step in enumerate(steps):
        value = share * value + step
        found[index] = value
    return _BASE + found


def constant(draw: np.random.Generator) -> Numbers:
    return np.full(SAMPLES, _BASE)


def noise(draw: np.random.Generator) -> Numbers:
    return _BASE + draw.normal(0, 20, SAMPLES)


def correlated(draw: np.random.Generator) -> Numbers:
    return _autocorrelated(draw, 0.9, 20)


def slowly_correlated(draw: np.random.Generator) -> Numbers:
    return _autocorrelated(draw, 0.99, 40)


def random_walk(draw: np.random.Generator) -> Numbers:
    return _BASE + np.cumsum(draw.normal(0, 4, SAMPLES))


def collected(draw: np.random.Generator) -> Numbers:
    """Garbage that is collected now and then."""
    period = draw.uniform(60, 900)
    phase = (TIMES + draw.uniform(0, period)) % period / period
    return _BASE + 100 * phase + draw.normal(0, 3, SAMPLES)


def shifted(draw: np.random.Generator) -> Numbers:
    found = _BASE + draw.normal(0, 5, SAMPLES)
    for _ in range(draw.integers(1, 5)):
        found = found + draw.uniform(20, 200) * (draw.uniform(0, SECONDS) < TIMES)
    return found


def saturating(draw: np.random.Generator) -> Numbers:
    """Comes to rest with a time constant of up to half of the hour."""
    rest = 1 - np.exp(-TIMES / (SECONDS * draw.uniform(0.02, 0.5)))
    return _BASE + draw.uniform(100, 400) * rest + draw.normal(0, 3, SAMPLES)


def logarithmic(draw: np.random.Generator) -> Numbers:
    return _BASE + 60 * np.log1p(TIMES / draw.uniform(5, 60)) + draw.normal(0, 3, SAMPLES)


def filled(draw: np.random.Generator) -> Numbers:
    """A cache that fills steadily until it is full."""
    full_at = SECONDS * draw.uniform(0.1, 0.8)
    return _BASE + 400 * np.minimum(TIMES / full_at, 1) + draw.normal(0, 3, SAMPLES)


def spiked(draw: np.random.Generator) -> Numbers:
    found = _BASE + draw.normal(0, 3, SAMPLES)
    found[draw.random(SAMPLES) < 0.02] += 500
    return found


def periodic(draw: np.random.Generator) -> Numbers:
    """Rises and falls at least once within what is judged."""
    period = draw.uniform(300, 0.75 * SECONDS)
    wave = np.sin(2 * np.pi * (TIMES / period + draw.random()))
    return _BASE + 60 * wave + draw.normal(0, 3, SAMPLES)


def tolerated(draw: np.random.Generator) -> Numbers:
    """Grows by half of what is tolerated."""
    return _BASE + 32 * HOURS + draw.normal(0, 5, SAMPLES)


CLEAN: tuple[Shape, ...] = (
    constant,
    noise,
    correlated,
    slowly_correlated,
    random_walk,
    collected,
    shifted,
    saturating,
    logarithmic,
    filled,
    spiked,
    periodic,
    tolerated,
)


def leaking(hourly: float, beside: Shape) -> Shape:
    """A steady leak beside a clean shape."""
    return lambda draw: beside(draw) + hourly * HOURS


def stairs(hourly: float, every: float) -> Shape:
    """A leak that shows as a step every so many seconds, as an allocator takes memory."""

    def shape(draw: np.random.Generator) -> Numbers:
        steps = np.floor((TIMES + draw.uniform(0, every)) / every)
        return _BASE + steps * hourly * every / 3600 + draw.normal(0, 3, SAMPLES)

    return shape
