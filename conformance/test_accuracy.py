"""Evaluation tasks against floors and an earlier run: lm-eval measures, the profile judges."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.asking import ANSWER_TOKENS, check_answers, questions
from conformance.evaluating import Evaluate, Evaluations, earlier_of
from pytest_qwenvl.engines.offline import OfflineLLM
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.report.measurements import Measurements

pytestmark = [pytest.mark.accuracy, pytest.mark.deployment_mode("offline")]

# Pictures that no other group asks about.
_SEED = 23
# What broken vision answers wrong first: read a text, read a number, tell images apart by order.
_QUICK = ("text", "number", "which_image")


@pytest.fixture(scope="session")
def blind() -> set[str]:
    """Deployments that failed the quick questions."""
    return set()


@pytest.fixture(scope="session")
def evaluated(carried_measurements: Measurements) -> Evaluations:
    """Evaluations that were made already, or failed: one decides several requirements."""
    return Evaluations(carried_measurements)


@pytest.fixture
def judge(
    evaluate: Evaluate,
    accuracy_floor: AccuracyFloor,
    deployment: PlannedDeployment,
    blind: set[str],
    evaluated: Evaluations,
    evidence: Evidence,
) -> Callable[..., None]:
    """Evaluate once, keep every item, and judge it as ``gate`` will judge the report."""

    def decide(name: str, earlier: Evaluation | None = None) -> None:
        if deployment.id in blind:
            raise InconclusiveError(
                f"{accuracy_floor.task}: not evaluated: the model cannot see (QVL-ACC-002)"
            )
        evaluated.judge(name, accuracy_floor, deployment, evaluate, evidence, earlier)

    return decide


@pytest.mark.requirement("QVL-ACC-002")
def test_reads_and_orders(
    accuracy_floor: AccuracyFloor,
    offline_llm: OfflineLLM,
    deployment: PlannedDeployment,
    blind: set[str],
    evidence: Evidence,
) -> None:
    """Text and numbers are read and images told apart, in seconds, before the long evaluation."""
    blind.add(deployment.id)
    for ability in _QUICK:
        items = questions(deployment.profile, ability, seed=_SEED)
        answers = offline_llm.generate(
            [item.openai_messages() for item in items], max_tokens=ANSWER_TOKENS
        )
        check_answers(deployment, ability, items, [it.text for it in answers], evidence)
    blind.remove(deployment.id)


@pytest.mark.requirement("QVL-ACC-001")
def test_score(judge: Callable[..., None]) -> None:
    """The task's score is not below its floor."""
    judge("score")


@pytest.mark.requirement("QVL-ACC-003")
def test_answers(judge: Callable[..., None]) -> None:
    """The answers are any: not empty, readable, not cut off."""
    judge("answers")


@pytest.mark.requirement("QVL-ACC-004")
def test_no_worse_than_baseline(
    judge: Callable[..., None],
    baseline: Measurements | None,
    accuracy_floor: AccuracyFloor,
    deployment: PlannedDeployment,
    evidence: Evidence,
) -> None:
    """Item by item, no worse than in the run of ``--baseline``."""
    judge("baseline", earlier_of(baseline, accuracy_floor, deployment, evidence))
