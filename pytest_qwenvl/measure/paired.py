"""Two runs over the same items: is the newer one worse, and surely by less than a margin (pure).

Only items on which the two runs disagree say anything: ``lost`` were right before and are wrong
now, ``won`` the other way round. Two questions with two tests, so that "not proven worse" is never
taken for "proven not worse":

* worse? McNemar's exact test: were the runs equally good, a lost item would be as likely as a won
  one, so ``won`` is binomial with 1/2 whatever the items are;
* worse by less than the margin? Tango's score test for the difference of two paired shares
  (Statistics in Medicine 17, 1998), which keeps its level where few or no items differ, as a
  bootstrap does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_qwenvl.measure.statistics import (
    check_counts,
    check_share,
    probability_at_least,
    probability_at_most,
)

RESAMPLES = 10_000
_SEED = 0


@dataclass(frozen=True)
class PairedTest:
    """How two runs over the same items differ; shares are of all items (0 to 1).

    Attributes:
        lost: right before, wrong now.
        won: wrong before, right now.
        difference: share right now less share right before.
        interval: of the difference, by bootstrap over items, two-sided at 95 %; shown, not judged.
        p_worse: exact McNemar, one-sided: so many lost or more, were the runs equally good.
        p_within: so small a loss or smaller, were the true loss the margin.
        worse: the newer run is proven worse.
        within: its loss, if there is one, is proven smaller than the margin.
    """

    n: int
    lost: int
    won: int
    difference: float
    interval: tuple[float, float]
    p_worse: float
    p_within: float
    worse: bool
    within: bool


def judge_pairs(
    lost: int,
    won: int,
    n: int,
    margin: float,
    confidence: float,
    worse_confidence: float | None = None,
) -> PairedTest:
    """Compare two runs over the same ``n`` items.

    Args:
        lost: items right before and wrong now.
        won: items wrong before and right now.
        margin: the loss that is still acceptable (0 to 1, as a share of all items).
        confidence: of either test, one-sided.
        worse_confidence: of the first of them, where it has another.

    Raises:
        ValueError: impossible counts, margin or confidence.
    """
    worse_confidence = confidence if worse_confidence is None else worse_confidence
    check_share("confidence", worse_confidence)
    check_counts(lost + won, n)
    if lost < 0 or won < 0:
        raise ValueError(f"{lost} lost and {won} won: needs 0 or more of each")
    check_share("margin", margin)
    check_share("confidence", confidence)
    # Nothing that differs is no sign of a loss; the binomial of no trials says the same.
    p_worse = probability_at_least(lost, lost + won, 0.5) if lost + won else 1.0
    p_within = _p_within(lost, won, n, margin)
    return PairedTest(
        n=n,
        lost=lost,
        won=won,
        difference=(won - lost) / n,
        interval=bootstrap_interval(lost, won, n),
        p_worse=p_worse,
        p_within=p_within,
        worse=p_worse <= 1 - worse_confidence,
        within=p_within <= 1 - confidence,
    )


def _p_within(lost: int, won: int, n: int, margin: float) -> float:
    from scipy.special import ndtr

    # The likeliest share of won items under a true loss of just the margin, then how far the
    # difference seen lies above that loss, in its standard errors there.
    b = (lost + won) * (1 - margin) - 2 * margin * (n - lost)
    q = (b + math.sqrt(b * b + 8 * n * won * margin * (1 - margin))) / (4 * n)
    variance = n * (2 * max(q, 0.0) + margin - margin * margin)
    return float(ndtr(-(won - lost + n * margin) / math.sqrt(variance)))


def bootstrap_interval(
    lost: int, won: int, n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the difference, items drawn anew with replacement, always alike.

    An item can only be lost, won or unchanged, so a resample of items is a draw from the
    multinomial of the three counts.
    """
    from numpy.random import default_rng

    check_counts(lost + won, n)
    check_share("confidence", confidence)
    shares = [lost / n, won / n, max(0.0, 1 - (lost + won) / n)]
    drawn = default_rng(_SEED).multinomial(n, shares, size=RESAMPLES)
    differences = sorted(((drawn[:, 1] - drawn[:, 0]) / n).tolist())
    tail = (1 - confidence) / 2
    low = math.floor(tail * (RESAMPLES - 1))
    return differences[low], differences[RESAMPLES - 1 - low]


def power_of_pairs(n: int, disagreement: float, loss: float, confidence: float) -> float:
    """How often :func:`judge_pairs` proves a true loss: exact, over all that can be seen.

    Args:
        disagreement: share of items (0 to 1) on which right and wrong differ between the runs.
        loss: true difference of their scores (0 to 1).

    Raises:
        ValueError: a loss larger than the disagreement, or impossible shares.
    """
    from scipy.special import bdtr

    check_share("disagreement", disagreement)
    check_share("confidence", confidence)
    if not 0 <= loss <= disagreement:
        raise ValueError(f"loss {loss}: needs a number from 0 to the disagreement {disagreement}")
    share_lost = (disagreement + loss) / 2 / disagreement
    power = 0.0
    for differing in range(1, n + 1):
        weight = probability_at_most(differing, n, disagreement) - probability_at_most(
            differing - 1, n, disagreement
        )
        if weight < 1e-12:
            continue
        least = next(
            (
                lost
                for lost in range(differing // 2, differing + 1)
                if probability_at_least(lost, differing, 0.5) <= 1 - confidence
            ),
            None,
        )
        if least is not None:
            power += weight * (1 - float(bdtr(least - 1, differing, share_lost)))
    return power
