"""Whether something drifts over a run: an exact test that knows nothing of distributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_qwenvl.measure.statistics import (
    percentile_of,
    probability_at_least,
    probability_at_most,
)


@dataclass(frozen=True)
class Drift:
    """How values changed from the first half of a run to the second.

    Attributes:
        pairs: values compared with the one half a run later; equal ones say nothing.
        risen: pairs in which the later value is larger.
        p_value: probability of so uneven a split or one more uneven, were there no trend.
        first, second: medians of the halves.
    """

    pairs: int
    risen: int
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
    """The sign test of Cox and Stuart (Biometrika 42, 1955), two-sided and exact.

    Each value is compared with the one half a run later. Without a trend either is the larger as
    often as the other, so the count of risen pairs is binomial with 1/2, whatever the values are,
    and neighbours that resemble each other, as under a passing load, are not compared at all.

    Returns:
        None with fewer than two values.
    """
    half = len(values) // 2
    if half == 0:
        return None
    first, second = values[:half], values[-half:]
    risen = sum(late > early for early, late in zip(first, second, strict=True))
    fallen = sum(late < early for early, late in zip(first, second, strict=True))
    pairs = risen + fallen
    p_value = 1.0
    if pairs:
        one_sided = min(
            probability_at_most(risen, pairs, 0.5), probability_at_least(risen, pairs, 0.5)
        )
        p_value = min(1.0, 2 * one_sided)
    return Drift(pairs, risen, p_value, percentile_of(first, 50), percentile_of(second, 50))
