"""How many times slower: ratios of percentiles of two samples, with intervals (pure).

The bounds of either percentile come from order statistics, so they hold for ten requests as for ten
thousand and for any distribution. Those of the ratio are recovered from them (Zou and Donner,
Statistics in Medicine 27, 2008): on the scale of logarithms the distances to the two bounds that
matter add up as the sides of a right triangle. That is an approximation; simulation shows that it
keeps its level (``tests/measure/test_latency_power.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_qwenvl.measure.statistics import (
    check_share,
    percentile_interval,
    percentile_of,
    probability_at_least,
)

# Requests this close in the order of sending that are slow together count once: one pause of the
# server or of the host holds up whatever is in flight.
_ONE_PAUSE = 8


@dataclass(frozen=True)
class Ratio:
    """A percentile of one sample over that of another.

    Attributes:
        percentile: 0 to 100.
        new, old: the percentile of either sample (its own unit).
        estimate: ``new / old``.
        low, high: bounds of the ratio, each at a confidence of its own; None where a sample is too
            small to bound it.
    """

    percentile: float
    new: float
    old: float
    estimate: float
    low: float | None
    high: float | None


def ratio_of(
    new: Sequence[float],
    old: Sequence[float],
    percentile: float,
    *,
    slower: float,
    within: float,
) -> Ratio:
    """Ratio of a percentile, with one-sided bounds.

    Args:
        slower: confidence (0.5 to 1) with which the ratio is at least ``low``.
        within: the same with which it is at most ``high``.

    Raises:
        ValueError: no values, values that are not above 0, impossible percentile or confidence.
    """
    if min(new, default=0.0) <= 0 or min(old, default=0.0) <= 0:
        raise ValueError("a ratio needs values above 0 on both sides")
    top, bottom = percentile_of(new, percentile), percentile_of(old, percentile)
    estimate = top / bottom
    low = high = None
    # A one-sided bound is the side of a two-sided interval that leaves as much out on the other.
    above = percentile_interval(new, percentile, 2 * slower - 1).low
    below = percentile_interval(old, percentile, 2 * slower - 1).high
    if above is not None and below is not None:
        low = estimate * math.exp(-_aside(top / above, below / bottom))
    above = percentile_interval(new, percentile, 2 * within - 1).high
    below = percentile_interval(old, percentile, 2 * within - 1).low
    if above is not None and below is not None:
        high = estimate * math.exp(_aside(above / top, bottom / below))
    return Ratio(percentile, top, bottom, estimate, low, high)


def _aside(first: float, second: float) -> float:
    return math.hypot(math.log(first), math.log(second))


@dataclass(frozen=True)
class Pauses:
    """How often either run was held up for longer than nearly all requests of both.

    Attributes:
        limit: what counts as held up (the values' own unit, of the newer run).
        new, old: how often, requests that were held up together counted once.
        p_value: probability that so many or more of them fall on the newer run, were both held up
            as often.
    """

    limit: float
    new: int
    old: int
    p_value: float


def pauses_of(
    new: Sequence[float], old: Sequence[float], *, allowed: float, share: float = 0.025
) -> Pauses:
    """Compare the slowest requests of two runs, which a median does not see.

    The values of the older run are made ``allowed`` times as large first. Then the slowest
    ``share`` of all requests of both is looked at: were the runs alike, each would have its part
    of them, by the number of its requests.

    Args:
        new, old: in order of sending.
        allowed: how much slower is still no slower, 1.1 for ten per cent.
        share: of all requests (0 to 1) that count as held up.

    Raises:
        ValueError: no values, or an impossible share.
    """
    check_share("share", share)
    if not new or not old:
        raise ValueError("needs requests of both runs")
    scaled = [value * allowed for value in old]
    limit = percentile_of([*new, *scaled], 100 * (1 - share))
    mine, theirs = _occasions(new, limit), _occasions(scaled, limit)
    p_value = 1.0
    if mine + theirs:
        p_value = probability_at_least(mine, mine + theirs, len(new) / (len(new) + len(old)))
    return Pauses(limit, mine, theirs, p_value)


def _occasions(values: Sequence[float], limit: float) -> int:
    count, last = 0, -_ONE_PAUSE
    for index, value in enumerate(values):
        if value > limit:
            count += index - last >= _ONE_PAUSE
            last = index
    return count
