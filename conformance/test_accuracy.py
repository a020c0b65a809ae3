"""Evaluation tasks against floors and an earlier run: lm-eval measures, the profile judges."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.asking import ANSWER_TOKENS, check_answers, questions
from pytest_qwenvl.engines.offline import OfflineLLM
from pytest_qwenvl.errors import InconclusiveError, MeasurementError
from pytest_qwenvl.measure.accuracy_evidence import KIND, as_evidence
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.report.judges import Case, judge_case
from pytest_qwenvl.report.measurements import BASELINE, MEASUREMENT, Key, Measurements
from pytest_qwenvl.report.statement import WEIGHTS_FILES
from pytest_qwenvl.weights_digest import weights_files

pytestmark = pytest.mark.accuracy

# Pictures that no other group asks about.
_SEED = 23
# What broken vision answers wrong first: read a text, read a number, tell images apart by order.
_QUICK = ("text", "number", "which_image")

Evaluated = dict[tuple[str, str], Evaluation | MeasurementError]


@pytest.fixture(scope="session")
def blind() -> set[str]:
    """Deployments that failed the quick questions."""
    return set()


@pytest.fixture(scope="session")
def evaluated() -> Evaluated:
    """Evaluations that were made already, or failed: one decides several requirements."""
    return {}


@pytest.fixture
def judge(
    evaluate: Callable[[AccuracyFloor], Evaluation],
    accuracy_floor: AccuracyFloor,
    deployment: PlannedDeployment,
    blind: set[str],
    evaluated: Evaluated,
    evidence: Evidence,
) -> Callable[..., None]:
    """Evaluate once, keep every item, and judge it as ``gate`` will judge the report."""

    def decide(name: str, earlier: Evaluation | None = None) -> None:
        if deployment.id in blind:
            raise InconclusiveError(
                f"{accuracy_floor.task}: not evaluated: the model cannot see (QVL-ACC-002)"
            )
        key = (deployment.id, accuracy_floor.task)
        known = evaluated.get(key)
        if known is None:
            try:
                known = evaluate(accuracy_floor)
                evidence.record(**{MEASUREMENT: as_evidence(known)})
                if deployment.weights is not None:
                    evidence.record(**{WEIGHTS_FILES: dict(weights_files(deployment.weights))})
            except MeasurementError as problem:
                known = problem
            evaluated[key] = known
        else:
            evidence.record(**{MEASUREMENT: f"{KIND} {accuracy_floor.task}"})
        if isinstance(known, MeasurementError):
            raise known
        profile = deployment.profile.model_dump(mode="json")
        case = Case(known, deployment.deployment.name, profile, evidence.values, earlier)
        judgement = judge_case(name, case)
        evidence.judge(judgement.outcome, judgement.sentence, **judgement.evidence)

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
    assert baseline is not None, "without --baseline this requirement is not claimed"
    key = Key(deployment.profile.name, deployment.deployment.name, f"{KIND} {accuracy_floor.task}")
    if key not in baseline:
        raise InconclusiveError(f"the baseline has no {key}: nothing to compare with")
    earlier = baseline[key]
    evidence.record(**{BASELINE: as_evidence(earlier)})
    judge("baseline", earlier)
