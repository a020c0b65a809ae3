"""Exact one-sided tests, bounds and sample sizes (pure).

Everything rests on the binomial distribution: an answer is right or wrong, a request is within its
budget or over it. Nothing here assumes that latencies are normal or that samples are large, so the
stated confidence holds for ten items as for ten thousand.

scipy is imported inside the functions: importing it costs more than importing the whole plugin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Evidence = Literal["within", "over", "cannot tell"]

LARGEST_SAMPLE = 10_000_000
"""Above this many requests a search for a sample size gives up with an error."""


def check_counts(count: int, n: int) -> None:
    """Raise ValueError unless ``count`` of ``n`` is possible, and ``n`` at least 1."""
    if n < 1 or not 0 <= count <= n:
        raise ValueError(f"{count} of {n}: needs 0 <= count <= n and n >= 1")


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless ``value`` lies between 0 and 1, both excluded."""
    if not 0 < value < 1:
        raise ValueError(f"{name} {value}: needs a number between 0 and 1, both excluded")


def probability_at_most(count: int, n: int, probability: float) -> float:
    """P(X <= count) for X binomial of ``n`` trials that each succeed with ``probability``."""
    # scipy.special, not scipy.stats: the same functions for 30 MB less.
    from scipy.special import bdtr

    return 0.0 if count < 0 else float(bdtr(min(count, n), n, probability))


def probability_at_least(count: int, n: int, probability: float) -> float:
    """P(X >= count) for X binomial of ``n`` trials that each succeed with ``probability``."""
    from scipy.special import bdtrc

    return 1.0 if count <= 0 else float(bdtrc(min(count - 1, n), n, probability))


def quantile(share: float, n: int, probability: float) -> int:
    """The smallest count that a binomial of ``n`` trials stays at or below with ``share``."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if probability_at_most(middle, n, probability) >= share:
            high = middle
        else:
            low = middle + 1
    return low


def lower_bound(count: int, n: int, confidence: float) -> float:
    """One-sided Clopper-Pearson lower bound of a share, having seen ``count`` of ``n``.

    The true share lies at or above it with at least ``confidence``.
    """
    from scipy.special import betaincinv

    check_counts(count, n)
    check_share("confidence", confidence)
    return 0.0 if count == 0 else float(betaincinv(count, n - count + 1, 1 - confidence))


def upper_bound(count: int, n: int, confidence: float) -> float:
    """One-sided Clopper-Pearson upper bound of a share, having seen ``count`` of ``n``.

    The true share lies at or below it with at least ``confidence``.
    """
    from scipy.special import betaincinv

    check_counts(count, n)
    check_share("confidence", confidence)
    return 1.0 if count == n else float(betaincinv(count + 1, n - count, confidence))


def interval(count: int, n: int, confidence: float) -> tuple[float, float]:
    """Two-sided Clopper-Pearson interval of a share: half of the error on either side."""
    half = (1 + confidence) / 2
    return lower_bound(count, n, half), upper_bound(count, n, half)


@dataclass(frozen=True)
class FloorTest:
    """Whether the true share lies below a floor.

    Attributes:
        below: True when that is proven at the stated confidence.
        p_value: probability of so few or fewer right answers if the true share were the floor.
        largest_failing: most right answers of ``n`` that still prove it; -1 when none does.
    """

    below: bool
    p_value: float
    largest_failing: int


def judge_floor(count: int, n: int, floor: float, confidence: float) -> FloorTest:
    """Exact one-sided binomial test of "the share is below ``floor``".

    A model whose true share is the floor or better is called below it with a probability of at
    most ``1 - confidence``.

    Args:
        count: right answers.
        n: items.
        floor: share (0 to 1).
        confidence: 0 to 1.

    Raises:
        ValueError: impossible counts or confidence.
    """
    check_counts(count, n)
    check_share("confidence", confidence)
    if not 0 <= floor <= 1:
        raise ValueError(f"floor {floor}: needs a number from 0 to 1")
    p_value = probability_at_most(count, n, floor)
    largest = quantile(1 - confidence, n, floor)
    while largest >= 0 and probability_at_most(largest, n, floor) > 1 - confidence:
        largest -= 1
    return FloorTest(below=p_value <= 1 - confidence, p_value=p_value, largest_failing=largest)


@dataclass(frozen=True)
class PercentileTest:
    """Whether a percentile of a metric lies within a limit.

    Attributes:
        evidence: ``within`` or ``over`` when proven at the stated confidence.
        share_over: observed share of requests over the limit.
        share_over_low, share_over_high: one-sided bounds of the true share over the limit, each
            at the stated confidence.
        allowed: share over the limit that the percentile allows (0.01 for p99).
    """

    evidence: Evidence
    share_over: float
    share_over_low: float
    share_over_high: float
    allowed: float


def judge_percentile(over: int, n: int, percentile: float, confidence: float) -> PercentileTest:
    """Exact one-sided tests of "the ``percentile`` lies within the limit", in both directions.

    Proven within when so few over the limit are improbable for a server that breaks it; proven
    over when so many are improbable for a server that keeps it.

    Args:
        over: requests over the limit.
        n: requests.
        percentile: 0 to 100, both excluded.
        confidence: of each direction.

    Raises:
        ValueError: impossible counts, percentile or confidence.
    """
    check_counts(over, n)
    check_share("percentile/100", percentile / 100)
    check_share("confidence", confidence)
    allowed = _allowed(percentile)
    evidence: Evidence = "cannot tell"
    if probability_at_most(over, n, allowed) <= 1 - confidence:
        evidence = "within"
    elif probability_at_least(over, n, allowed) <= 1 - confidence:
        evidence = "over"
    return PercentileTest(
        evidence=evidence,
        share_over=over / n,
        share_over_low=lower_bound(over, n, confidence),
        share_over_high=upper_bound(over, n, confidence),
        allowed=allowed,
    )


def _allowed(percentile: float) -> float:
    return (100 - percentile) / 100


def smallest_sample(percentile: float, confidence: float, over: int = 0) -> int:
    """Fewest requests with which ``over`` of them over the limit still prove the percentile.

    Raises:
        ValueError: impossible arguments, or a percentile that takes more than ten million.
    """
    check_share("percentile/100", percentile / 100)
    check_share("confidence", confidence)
    if over < 0:
        raise ValueError(f"{over} requests over the limit: needs 0 or more")
    allowed = _allowed(percentile)

    def proves(n: int) -> bool:
        return probability_at_most(over, n, allowed) <= 1 - confidence

    high = over + 1
    while not proves(high):
        high *= 2
        if high > LARGEST_SAMPLE:
            raise ValueError(
                f"p{percentile:g} with {over} over the limit takes more than {LARGEST_SAMPLE} "
                f"requests at {confidence:.0%} confidence"
            )
    low = over
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high


def sample_to_decide(over: int, n: int, percentile: float, confidence: float) -> int | None:
    """How many requests it would take to say "within", should they go on as they began.

    With nothing over the limit that is the smallest sample of the percentile. Otherwise the share
    over the limit is taken as it was seen; None when that share is itself not within the
    percentile, because then no number of requests would prove it.
    """
    check_counts(over, n)
    if over == 0:
        return smallest_sample(percentile, confidence)
    if over / n >= _allowed(percentile):
        return None
    needed = n
    while True:
        expected_over = -(-over * needed // n)  # rounded up
        if probability_at_most(expected_over, needed, _allowed(percentile)) <= 1 - confidence:
            return needed
        needed = max(needed + 1, math.ceil(needed * 1.02))
        if needed > LARGEST_SAMPLE:
            return None


@dataclass(frozen=True)
class PercentileInterval:
    """A percentile of a sample with its confidence interval.

    Attributes:
        estimate: linear interpolation between order statistics, as numpy and vLLM have it.
        low, high: two-sided interval from order statistics; None on a side that the sample is too
            small to bound.
    """

    estimate: float
    low: float | None
    high: float | None


def percentile_of(values: Sequence[float], percentile: float) -> float:
    """Percentile by linear interpolation between order statistics.

    Raises:
        ValueError: no values, or a percentile outside 0 to 100.
    """
    if not values:
        raise ValueError(f"p{percentile:g} of no values: needs at least one")
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile {percentile}: needs a number from 0 to 100")
    ordered = sorted(values)
    position = (len(ordered) - 1) * percentile / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def percentile_interval(
    values: Sequence[float], percentile: float, confidence: float
) -> PercentileInterval:
    """Percentile of ``values`` with a two-sided interval from order statistics.

    Holds for any continuous distribution: the number of values below the true percentile is
    binomial, whatever the values are.

    Raises:
        ValueError: no values, or an impossible percentile or confidence.
    """
    estimate = percentile_of(values, percentile)
    check_share("percentile/100", percentile / 100)
    check_share("confidence", confidence)
    ordered = sorted(values)
    n, share, tail = len(ordered), percentile / 100, (1 - confidence) / 2
    # Value number r (from 1) lies above the percentile with P(X <= r - 1), which is below the tail
    # up to r = ppf(tail), and below it with P(X >= r), which is so from r = ppf(1 - tail) + 1 on.
    low = quantile(tail, n, share)
    high = quantile(1 - tail, n, share) + 1
    return PercentileInterval(
        estimate=estimate,
        low=ordered[low - 1] if low >= 1 else None,
        high=ordered[high - 1] if high <= n else None,
    )
