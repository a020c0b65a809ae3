"""Whether something drifts over a run, where neighbours may resemble each other (pure)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_qwenvl.measure.statistics import percentile_of

_FEWEST = 12
"""Values below which no drift can be told from chance."""
_CLOSEST = 0.97
"""Largest correlation of neighbours that is reckoned with: beyond it nothing could be shown."""


@dataclass(frozen=True)
class Drift:
    """How values changed from the first half of a run to the second.

    Attributes:
        correlation: of neighbours (0 to 1) beside any trend.
        p_value: probability of halves so different or more, were there no trend.
        first, second: medians of the halves.
    """

    correlation: float
    p_value: float
    first: float
    second: float

    @property
    def size(self) -> float:
        """Change of the median as a share of the smaller one; 0 for none, 1 for twice as much."""
        low, high = sorted((self.first, self.second))
        if low == high:
            return 0.0
        return high / low - 1 if low > 0 else float("inf")


def drift_of(values: Sequence[float]) -> Drift | None:
    """A rank test of the halves of a run that reckons with neighbours that resemble each other.

    The mean ranks of the halves are compared. Requests that are in the server together are slow
    together, so that n values say less than n independent ones would: the variance of the
    difference is enlarged as that of a first-order autoregression, and Student's distribution with
    as many degrees of freedom as that leaves takes the place of the normal one. How alike
    neighbours are is taken from what a line and a step between the halves leave of the ranks, so
    that a trend does not hide itself, and corrected for what those two take away.

    A test that takes values for independent errs the more often the more alike neighbours are: that
    of Cox and Stuart at a level of 0.001 in one of ten steady runs of 200 values with a correlation
    of 0.7. This one keeps its level up to 0.8; `tests/measure/test_trend.py` has the figures.

    Returns:
        None with fewer than two values.
    """
    n = len(values)
    half = n // 2
    if half == 0:
        return None
    first, second = percentile_of(values[:half], 50), percentile_of(values[-half:], 50)
    ranks = _ranks(values)
    variance = math.fsum(rank * rank for rank in ranks) / n
    if n < _FEWEST or variance == 0:
        return Drift(0.0, 1.0, first, second)
    correlation = _correlation(_residuals(ranks, half))
    # A line, a step and a mean take that much away from what neighbours have in common.
    correlation = min(_CLOSEST, max(0.0, (n * correlation + 4) / (n - 5)))
    shrink = (1 - correlation) / (1 + correlation)
    difference = (math.fsum(ranks[-half:]) - math.fsum(ranks[:half])) / half
    error = math.sqrt(variance * 2 / half / shrink)
    return Drift(correlation, _two_sided(difference / error, n * shrink - 3), first, second)


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks as shares of the run, around 0; equal values share theirs."""
    n = len(values)
    order = sorted(range(n), key=values.__getitem__)
    ranks = [0.0] * n
    start = 0
    while start < n:
        end = start
        while end + 1 < n and values[order[end + 1]] == values[order[start]]:
            end += 1
        for position in range(start, end + 1):
            ranks[order[position]] = ((start + end + 1) / n - 1) / 2
        start = end + 1
    return ranks


def _residuals(ranks: Sequence[float], half: int) -> list[float]:
    """What a line and a step between the halves, fitted together, leave."""
    n = len(ranks)
    line = [index - (n - 1) / 2 for index in range(n)]
    step = [float((index >= n - half) - (index < half)) for index in range(n)]
    ll, ss = math.fsum(it * it for it in line), math.fsum(it * it for it in step)
    ls = math.fsum(a * b for a, b in zip(line, step, strict=True))
    lr = math.fsum(a * b for a, b in zip(line, ranks, strict=True))
    sr = math.fsum(a * b for a, b in zip(step, ranks, strict=True))
    determinant = ll * ss - ls * ls
    slope, height = (ss * lr - ls * sr) / determinant, (ll * sr - ls * lr) / determinant
    return [r - slope * a - height * b for r, a, b in zip(ranks, line, step, strict=True)]


def _correlation(residuals: Sequence[float]) -> float:
    square = math.fsum(it * it for it in residuals)
    products = math.fsum(a * b for a, b in itertools.pairwise(residuals))
    # Nothing left but rounding: the values are a line or a step, and neighbours say nothing more.
    return products / square if square > 1e-9 * len(residuals) else 0.0


def _two_sided(statistic: float, degrees: float) -> float:
    from scipy.special import stdtr

    return 2 * float(stdtr(max(1.0, degrees), -abs(statistic)))
