"""Evaluation tasks against floors: lm-eval measures, the profile says what is enough."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_qwenvl.measure.accuracy import judge_accuracy
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.profile import AccuracyFloor

pytestmark = pytest.mark.accuracy


@pytest.mark.requirement("QVL-ACC-001")
def test_score(
    evaluate: Callable[[AccuracyFloor], Evaluation],
    accuracy_floor: AccuracyFloor,
    evidence: Evidence,
) -> None:
    """The task's score is not below its floor."""
    evaluation = evaluate(accuracy_floor)
    judgement = judge_accuracy(evaluation, accuracy_floor)
    evidence.record(results=str(evaluation.path))
    evidence.judge(judgement.outcome, judgement.sentence, **judgement.evidence)
