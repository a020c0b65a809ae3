"""Two runs over the same items: exact figures, and how often the tests err and find."""

from __future__ import annotations

from itertools import product
from math import comb

import pytest
from numpy.random import default_rng

from pytest_qwenvl.measure.paired import bootstrap_interval, judge_pairs, power_of_pairs
from pytest_qwenvl.measure.statistics import judge_floor

RUNS = 2000
# Of a share of 2,000 runs, 4 standard errors.
SLACK = 4 * (0.05 * 0.95 / RUNS) ** 0.5


@pytest.mark.parametrize(("lost", "won"), list(product((0, 1, 5, 9, 30), repeat=2)))
def test_p_value_is_mcnemars(lost: int, won: int) -> None:
    differing = lost + won
    expected = sum(comb(differing, k) for k in range(lost, differing + 1)) / 2**differing
    assert judge_pairs(lost, won, 900, 0.02, 0.95).p_worse == pytest.approx(expected)


def test_known_decisions() -> None:
    lossy = judge_pairs(54, 36, 900, 0.02, 0.95)
    assert lossy.worse and not lossy.within
    assert lossy.difference == pytest.approx(-0.02)
    # At the margin itself the loss seen is the one asked about.
    assert lossy.p_within == pytest.approx(0.5)
    equal = judge_pairs(0, 0, 900, 0.02, 0.95)
    assert equal.within and not equal.worse
    # Ten equal answers rule out no loss of 2 points, though a bootstrap of them never sees one.
    few = judge_pairs(0, 0, 10, 0.02, 0.95)
    assert not few.within and not few.worse
    assert few.interval == (0.0, 0.0)


def test_more_won_is_never_worse() -> None:
    values = [judge_pairs(20, won, 900, 0.02, 0.95) for won in range(0, 60, 5)]
    assert [it.p_worse for it in values] == sorted(it.p_worse for it in values)
    assert [it.p_within for it in values] == sorted((it.p_within for it in values), reverse=True)


def test_interval_is_repeatable_and_covers_what_was_seen() -> None:
    low, high = bootstrap_interval(54, 36, 900)
    assert (low, high) == bootstrap_interval(54, 36, 900)
    # The normal interval of a paired difference, which a bootstrap of 900 items comes close to.
    error = 1.96 * ((90 / 900 - 0.02**2) / 900) ** 0.5
    assert low == pytest.approx(-0.02 - error, abs=0.002)
    assert high == pytest.approx(-0.02 + error, abs=0.002)


@pytest.mark.parametrize(
    ("lost", "won", "n", "margin", "confidence"),
    [(-1, 3, 10, 0.02, 0.95), (6, 5, 10, 0.02, 0.95), (0, 0, 0, 0.02, 0.95),
     (1, 1, 10, 0.0, 0.95), (1, 1, 10, 0.02, 1.0)],
)  # fmt: skip
def test_impossible_counts(lost: int, won: int, n: int, margin: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="needs"):
        judge_pairs(lost, won, n, margin, confidence)


def simulate(
    n: int, disagreement: float, loss: float, seed: int, worse_confidence: float = 0.95
) -> tuple[float, float]:
    """Shares of runs that are proven worse, and that are proven within 2 points."""
    shares = [(disagreement + loss) / 2, (disagreement - loss) / 2, 1 - disagreement]
    drawn = default_rng(seed).multinomial(n, shares, size=RUNS).tolist()
    tests = [judge_pairs(lost, won, n, 0.02, 0.95, worse_confidence) for lost, won, _ in drawn]
    return sum(it.worse for it in tests) / RUNS, sum(it.within for it in tests) / RUNS


@pytest.fixture
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    # The bootstrap decides nothing, and 10,000 resamples for each of 2,000 runs are minutes.
    monkeypatch.setattr("pytest_qwenvl.measure.paired.RESAMPLES", 10)


@pytest.mark.parametrize("disagreement", [0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("n", [120, 900])
@pytest.mark.usefixtures("_few_resamples")
def test_false_alarms_stay_below_the_level(n: int, disagreement: float) -> None:
    worse, _ = simulate(n, disagreement, 0.0, seed=1)
    assert worse <= 0.05 + SLACK


@pytest.mark.parametrize("disagreement", [0.03, 0.05, 0.1])
@pytest.mark.parametrize("n", [300, 900])
@pytest.mark.usefixtures("_few_resamples")
def test_a_loss_of_the_margin_is_not_let_through(n: int, disagreement: float) -> None:
    _, within = simulate(n, disagreement, 0.02, seed=2)
    # The score test is exact only in the limit; its level is kept to within a point.
    assert within <= 0.06 + SLACK


@pytest.mark.parametrize(
    ("disagreement", "proven"), [(0.1, 0.56), (0.08, 0.64), (0.055, 0.79), (0.05, 0.83)]
)
@pytest.mark.usefixtures("_few_resamples")
def test_power_is_as_computed(disagreement: float, proven: float) -> None:
    power = power_of_pairs(900, disagreement, 0.02, 0.95)
    assert power == pytest.approx(proven, abs=0.01)
    worse, _ = simulate(900, disagreement, 0.02, seed=3)
    assert worse == pytest.approx(power, abs=4 * (0.25 / RUNS) ** 0.5)


@pytest.mark.usefixtures("_few_resamples")
def test_loss_of_two_points_at_90_percent_agreement() -> None:
    """Of 900 items: found means not let through; the unpaired test of the same runs finds few."""
    worse, within = simulate(900, 0.1, 0.02, seed=4)
    assert 1 - within >= 0.9
    assert worse >= 0.5
    right = default_rng(5).binomial(900, 0.54 - 0.02, size=RUNS).tolist()
    unpaired = sum(judge_floor(count, 900, 0.54, 0.95).below for count in right) / RUNS
    assert unpaired < 0.4 < worse
