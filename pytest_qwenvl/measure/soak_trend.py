"""Whether a watched quantity keeps growing: a robust slope, and proof that it is sustained (pure).

Three things look like a leak and are none: samples that resemble their neighbours, a quantity that
rose once, and growth that comes to rest (an allocator that warms up, a cache that fills). So a
quantity is said to grow only when all of this holds:

1. the slope of Theil and Sen exceeds what is tolerated, by the lower end of its interval, which is
   widened by the autocorrelation of the residuals (Sen, JASA 63, 1968; Hamed and Rao, J. Hydrology
   204, 1998);
2. the medians of twelve equal spans rise from one to the next nearly always, by an exact sign test.
   For a random walk, the worst that noise can be, the steps' signs are fair coins, and for
   samples that do not depend on each other they are more even than that: the level holds for both;
3. the second half grew at least four fifths as much as the first: growth that is slowing comes to
   rest;
4. it grew by more than a least amount, since any process grows a little in its first minutes.

It is level when the upper end of the interval is below what is tolerated, over the whole or, for
what rose before and came to rest, over the last half.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_qwenvl.measure.statistics import probability_at_least

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

Finding = Literal["grows", "level", "cannot tell"]

SPANS = 12
SAMPLES_IN_SPAN = 3
STEADY = 0.8
"""Least growth of the second half, as a share of the first's, that is not slowing."""
LONGEST = 24 * 60.0
"""Minutes; a soak that would have to be longer is not proposed."""

_MOST_POINTS = 240
_HOUR = 3600.0


@dataclass(frozen=True)
class Tolerance:
    """What growth is too little to matter.

    Attributes:
        hourly: units an hour.
        least: units over the judged time; less is never called growth.
        confidence: with which something is called growing, or level.
    """

    hourly: float
    least: float
    confidence: float


@dataclass(frozen=True)
class Growth:
    """What a series shows.

    Attributes:
        why: what speaks against calling it growing or level; empty where it was called one.
        hourly: slope, units an hour; ``low`` and ``high`` bound it at the stated confidence.
        grown: from the median of the first span to that of the last, units.
        judged_from: seconds; ``judged_until`` likewise. What lies before is warm-up.
        minutes_needed: how long a soak would tell; None when one of a day would not.
    """

    finding: Finding
    why: str
    hourly: float
    low: float
    high: float
    grown: float
    judged_from: float
    judged_until: float
    minutes_needed: float | None = None


def growth_of(
    times: Sequence[float],
    values: Sequence[float],
    tolerance: Tolerance,
    *,
    warm_up: float,
    comparisons: int = 1,
) -> Growth:
    """Judge one series.

    Args:
        times: seconds since the load began, ascending; one a value.
        warm_up: seconds that are left out at the beginning.
        comparisons: how many series are judged together; each is judged so much more strictly that
            the stated confidence holds for all of them.
    """
    import numpy as np

    if len(times) != len(values):
        raise ValueError(f"{len(times)} times and {len(values)} values")
    level = (1 - tolerance.confidence) / max(1, comparisons)
    kept = [(at, value) for at, value in zip(times, values, strict=True) if at >= warm_up]
    until = times[-1] if times else 0.0
    if len(kept) < SPANS * SAMPLES_IN_SPAN:
        needed = _minutes_for_samples(times, warm_up)
        why = f"{len(kept)} samples after the warm-up, {SPANS * SAMPLES_IN_SPAN} are needed"
        return Growth("cannot tell", why, 0.0, -math.inf, math.inf, 0.0, warm_up, until, needed)
    at, value = (np.asarray(column, dtype=float) for column in zip(*kept, strict=True))
    slope, low, high = sen_interval(at, value, level)
    grown, why = _sustained(value, level, tolerance)
    finding: Finding = "cannot tell"
    if low > tolerance.hourly and not why:
        finding = "grows"
    elif high < tolerance.hourly or _rests(at, value, level, tolerance):
        finding, why = "level", ""
    elif low <= tolerance.hourly:
        why = "the slope's interval holds what is tolerated"
    needed = None
    if finding == "cannot tell":
        needed = _minutes_needed(until, warm_up, slope, (high - low) / 2, tolerance.hourly)
    return Growth(finding, why, slope, low, high, grown, warm_up, until, needed)


def sen_interval(at: Numbers, value: Numbers, level: float) -> tuple[float, float, float]:
    """Theil-Sen slope and its one-sided bounds at ``level`` each, units an hour."""
    import numpy as np
    from scipy.special import ndtri

    at, value = _thinned(at), _thinned(value)
    n = len(at)
    first, second = np.triu_indices(n, 1)
    slopes = np.sort((value[second] - value[first]) / (at[second] - at[first]))
    slope = float(np.median(slopes))
    residuals = value - slope * at
    spread = math.sqrt(n * (n - 1) * (2 * n + 5) / 18 * _inflation(residuals))
    pairs = len(slopes)
    reach = float(-ndtri(level)) * spread / 2
    low = math.floor(pairs / 2 - reach)
    high = math.ceil(pairs / 2 + reach)
    return (
        slope * _HOUR,
        float(slopes[low]) * _HOUR if low >= 0 else -math.inf,
        float(slopes[high]) * _HOUR if high < pairs else math.inf,
    )


def _inflation(residuals: Numbers) -> float:
    """By how much autocorrelation widens a variance, at least 1.

    Sums of neighbouring pairs of autocorrelations are added as long as they are positive (Geyer,
    Statistical Science 7, 1992).
    """
    import numpy as np

    n = len(residuals)
    centred = residuals - residuals.mean()
    variance = float(centred @ centred)
    if variance <= 0:
        return 1.0
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    correlations = np.fft.irfft(spectrum * np.conj(spectrum), size)[:n] / variance
    total = 0.0
    for lag in range(0, n // 2 - 1, 2):
        pair = float(correlations[lag] + correlations[lag + 1])
        if pair <= 0:
            break
        total += pair
    return max(1.0, 2 * total - 1)


def _thinned(values: Numbers) -> Numbers:
    """At most so many means of neighbours; the slope of means is the slope."""
    import numpy as np

    if len(values) <= _MOST_POINTS:
        return values
    return np.array([part.mean() for part in np.array_split(values, _MOST_POINTS)])


def _sustained(value: Numbers, level: float, tolerance: Tolerance) -> tuple[float, str]:
    """Growth over the spans, and what speaks against its being sustained; empty for nothing."""
    import numpy as np

    medians = [float(np.median(part)) for part in np.array_split(value, SPANS)]
    grown = medians[-1] - medians[0]
    if grown < tolerance.least:
        return grown, "it grew by less than the least amount that is called growth"
    risen = sum(late > early for early, late in itertools.pairwise(medians))
    if probability_at_least(risen, SPANS - 1, 0.5) > level:
        return grown, f"it rose in {risen} of {SPANS - 1} steps between spans only"
    half = SPANS // 2
    first, second = medians[half - 1] - medians[0], medians[-1] - medians[half]
    if second < STEADY * first:
        return grown, "its growth is slowing"
    return grown, ""


def _rests(at: Numbers, value: Numbers, level: float, tolerance: Tolerance) -> bool:
    """Whether the last half is level, with half the chance to be wrong: it is a second look."""
    half = len(at) // 2
    if len(at) - half < SPANS * SAMPLES_IN_SPAN:
        return False
    return sen_interval(at[half:], value[half:], level / 2)[2] < tolerance.hourly


def _minutes_for_samples(times: Sequence[float], warm_up: float) -> float | None:
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    interval = (times[-1] - times[0]) / (len(times) - 1)
    # A longer soak may have a longer warm-up; half as much again has room for it.
    return _proposed((warm_up + 1.5 * SPANS * SAMPLES_IN_SPAN * interval) / 60)


def _minutes_needed(
    until: float, warm_up: float, slope: float, reach: float, tolerated: float
) -> float | None:
    """The interval shrinks with the power 3/2 of the time; twice as long where it is no matter."""
    gap = abs(tolerated - slope)
    if gap <= 0 or not math.isfinite(reach):
        return None
    factor = (1.1 * reach / gap) ** (2 / 3)
    return _proposed(until / 60 * (factor if factor > 1.05 else 2.0))


def _proposed(minutes: float) -> float | None:
    return float(math.ceil(minutes)) if minutes <= LONGEST else None
