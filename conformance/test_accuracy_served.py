"""Evaluation tasks asked of a server: lm-eval over chat completions, the profile judges."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.evaluating import Evaluate, Evaluations, earlier_of
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.report.measurements import Measurements

pytestmark = [pytest.mark.accuracy, pytest.mark.deployment_mode("serve")]


@pytest.fixture(scope="session")
def evaluated_served(carried_measurements: Measurements) -> Evaluations:
    """Evaluations that were made already, or failed: one decides several requirements."""
    return Evaluations(carried_measurements)


@pytest.fixture
def judge(
    evaluate_served: Evaluate,
    accuracy_floor: AccuracyFloor,
    deployment: PlannedDeployment,
    evaluated_served: Evaluations,
    evidence: Evidence,
) -> Callable[..., None]:
    """Evaluate once, keep every item, and judge it as ``gate`` will judge the report."""

    def decide(name: str, earlier: Evaluation | None = None) -> None:
        evaluated_served.judge(name, accuracy_floor, deployment, evaluate_served, evidence, earlier)

    return decide


@pytest.mark.requirement("QVL-ACC-005")
def test_served_score(judge: Callable[..., None]) -> None:
    """The task's score is not below the floor of this harness."""
    judge("served-score")


@pytest.mark.requirement("QVL-ACC-006")
def test_served_answers(judge: Callable[..., None]) -> None:
    """The server's answers are any: not empty, readable, not cut off."""
    judge("served-answers")


@pytest.mark.requirement("QVL-ACC-007")
@pytest.mark.needs("weights")
def test_served_no_worse_than_baseline(
    judge: Callable[..., None],
    baseline: Measurements | None,
    accuracy_floor: AccuracyFloor,
    deployment: PlannedDeployment,
    evidence: Evidence,
) -> None:
    """Item by item, no worse than in the run of ``--baseline``, which asked its server too."""
    judge("served-baseline", earlier_of(baseline, accuracy_floor, deployment, evidence))
