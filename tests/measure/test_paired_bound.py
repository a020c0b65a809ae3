"""What no test of paired answers can do, and at which level and with how many items one can."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import gammaln

from pytest_qwenvl.measure.paired import power_of_pairs
from tests.measure.test_paired import RUNS, simulate

LEVEL_THAT_FINDS = 0.17
AGREEMENT, LOSS = 0.9, 0.02


@pytest.fixture
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    # The bootstrap decides nothing, and 10,000 resamples for each of 2,000 runs are minutes.
    monkeypatch.setattr("pytest_qwenvl.measure.paired.RESAMPLES", 10)


def most_powerful(n: int, level: float) -> float:
    """Power that no test of this level exceeds, whatever it looks at.

    A test that calls equally good runs worse in at most ``level`` of all cases does so for every
    share of items that come and go by chance, so for each one of these shares the most powerful
    test of it against the true loss (Neyman and Pearson, drawn by lot where it is undecided) bounds
    the power; the least of these bounds is the bound.
    """
    differing = 1 - AGREEMENT
    loses, wins = (differing + LOSS) / 2, (differing - LOSS) / 2
    counts = np.arange(int(2.2 * differing * n))
    lost, won = (grid.ravel() for grid in np.meshgrid(counts, counts))
    ways = gammaln(n + 1) - gammaln(lost + 1) - gammaln(won + 1) - gammaln(n - lost - won + 1)

    def logarithm(of_lost: float, of_won: float) -> NDArray[np.float64]:
        same = (n - lost - won) * np.log(1 - of_lost - of_won)
        logarithms: NDArray[np.float64] = (
            ways + lost * np.log(of_lost) + won * np.log(of_won) + same
        )
        return logarithms

    true = logarithm(loses, wins)
    bounds = []
    for share in np.linspace(0.97, 1.03, 13) * differing / 2:
        equal = logarithm(share, share)
        order = np.argsort(equal - true)
        errors, finds = np.exp(equal[order]), np.exp(true[order])
        at = int(np.searchsorted(np.cumsum(errors), level))
        lot = (level - errors[:at].sum()) / errors[at]
        bounds.append(float(finds[:at].sum() + lot * finds[at]))
    return min(bounds)


def test_no_test_finds_two_points_in_80_percent_at_the_usual_level() -> None:
    assert most_powerful(900, 0.05) == pytest.approx(0.602, abs=0.002)
    # What the gate does is near to what can be done.
    assert power_of_pairs(900, 1 - AGREEMENT, LOSS, 0.95) == pytest.approx(0.560, abs=0.002)


def test_the_level_at_which_80_percent_is_reached() -> None:
    assert most_powerful(900, 0.14) < 0.8 < most_powerful(900, 0.15)
    assert power_of_pairs(900, 1 - AGREEMENT, LOSS, 1 - 0.165) < 0.8
    assert power_of_pairs(900, 1 - AGREEMENT, LOSS, 1 - LEVEL_THAT_FINDS) > 0.8


def test_the_items_that_it_takes_at_the_usual_level() -> None:
    assert most_powerful(1500, 0.05) < 0.8 < most_powerful(1560, 0.05)
    assert power_of_pairs(1600, 1 - AGREEMENT, LOSS, 0.95) < 0.8
    assert power_of_pairs(1650, 1 - AGREEMENT, LOSS, 0.95) > 0.8


@pytest.mark.usefixtures("_few_resamples")
def test_a_profile_that_chooses_the_level_finds_80_percent() -> None:
    """2,000 runs that lost two points, and as many that lost nothing."""
    found, let_through = simulate(900, 1 - AGREEMENT, LOSS, 6, 1 - LEVEL_THAT_FINDS)
    assert found >= 0.8 - 2 * (0.8 * 0.2 / RUNS) ** 0.5
    # Ruling the loss out keeps its own level.
    assert let_through <= 0.06 + 2 * (0.05 * 0.95 / RUNS) ** 0.5
    alarms, _ = simulate(900, 1 - AGREEMENT, 0.0, 7, 1 - LEVEL_THAT_FINDS)
    assert alarms <= LEVEL_THAT_FINDS + 2 * (0.17 * 0.83 / RUNS) ** 0.5
