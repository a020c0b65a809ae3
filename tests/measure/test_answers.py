"""Empty, unreadable and cut-off answers: each counted, each with its own limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_qwenvl.measure.accuracy import judge_accuracy
from pytest_qwenvl.measure.answers import answer_counts, judge_answers
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.profile_accuracy import AccuracyFloor, AnswerLimits
from pytest_qwenvl.report.results import Outcome
from tests.measure.evaluations import evaluation, floor

LETTER = r"\(?[A-I]\)?[.:)]?(\s|$)"


def limited(**limits: Any) -> AccuracyFloor:
    table = {"cut_off": 0.02, "source": "invented here", **limits}
    return floor(items=100, maximum_empty=0.02, answers=table)


def with_items(*changes: dict[str, Any]) -> Evaluation:
    """100 items, all right, of which the first are changed."""
    whole = evaluation(100, 100)
    items = [replace(item, answer="(B)") for item in whole.items]
    for index, change in enumerate(changes):
        items[index] = replace(items[index], **change)
    return replace(whole, items=tuple(items))


@pytest.mark.parametrize("bad", [2, 3])
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"answer": " \n"}, "empty"),
        ({"answer": "nothing to see"}, "unparseable"),
        ({"finish_reason": "length"}, "cut_off"),
    ],
)
def test_each_kind_has_its_limit(bad: int, change: dict[str, Any], kind: str) -> None:
    its = with_items(*[change] * bad)
    limits = limited(pattern=LETTER, unparseable=0.02)
    assert answer_counts(its, limits) == {
        "empty": 0, "unparseable": 0, "cut_off": 0, kind: bad,
    }  # fmt: skip
    judgement = judge_answers(its, limits)
    assert judgement.outcome is (Outcome.FAIL if bad > 2 else Outcome.PASS)
    assert judgement.evidence[kind] == bad
    if bad > 2:
        assert f"3 of 100 answers are {kind.replace('_', ' ')}, 2.0% may be" in judgement.sentence
        # Whatever the score is, it is that of a guesser.
        assert judge_accuracy(its, limits).outcome is Outcome.FAIL


def test_untold_finish_reasons_decide_nothing() -> None:
    its = with_items({"finish_reason": ""})
    assert answer_counts(its, limited())["cut_off"] is None
    assert judge_answers(its, limited()).outcome is Outcome.INCONCLUSIVE
    # A profile that does not ask is not told.
    assert judge_answers(its, floor(items=100)).outcome is Outcome.PASS


def test_without_a_pattern_every_answer_is_readable() -> None:
    counts = answer_counts(with_items({"answer": "?"}), limited())
    assert counts["unparseable"] is None


@pytest.mark.parametrize(
    "table",
    [
        {"cut_off": 0.02, "source": "invented here", "pattern": "("},
        {"cut_off": 0.02, "source": "invented here", "unparseable": 0.1},
        {"cut_off": 1.5, "source": "invented here"},
        {"cut_off": 0.02},
    ],
)
def test_impossible_limits(table: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"pattern|unparseable|cut_off|source"):
        AnswerLimits.model_validate(table)
