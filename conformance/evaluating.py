"""Evaluations of a run: each made once, kept whole, and judged for several requirements."""

from __future__ import annotations

from collections.abc import Callable

from pytest_qwenvl.errors import EngineError, InconclusiveError, MeasurementError
from pytest_qwenvl.measure.accuracy_evidence import as_evidence, kind_of
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.report.judges import Case, judge_case
from pytest_qwenvl.report.measurements import BASELINE, MEASUREMENT, Key, Measurements
from pytest_qwenvl.report.statement import WEIGHTS_FILES
from pytest_qwenvl.weights_digest import weights_files

Evaluate = Callable[[AccuracyFloor], Evaluation]


class Evaluations:
    """What was evaluated already, or failed to be: one evaluation decides several requirements.

    Args:
        carried: what a run that this one continues measured, and results carried over rest on.
    """

    def __init__(self, carried: Measurements) -> None:
        self._carried = carried
        self._known: dict[tuple[str, str], Evaluation | MeasurementError | EngineError] = {}

    def judge(
        self,
        judge: str,
        floor: AccuracyFloor,
        deployment: PlannedDeployment,
        evaluate: Evaluate,
        evidence: Evidence,
        earlier: Evaluation | None = None,
    ) -> None:
        """Judge the evaluation as ``gate`` will judge the report; anything but PASS ends the test.

        Raises:
            MeasurementError, EngineError: as ``evaluate`` did, for each requirement anew.
        """
        key = (deployment.id, floor.task)
        known = self._known.get(key)
        text = f"{kind_of(floor.harness)} {floor.task}"
        kept = Key(deployment.profile.name, deployment.deployment.name, text)
        if known is None and kept in self._carried:
            known = self._known[key] = self._carried[kept]
        if known is None:
            try:
                known = evaluate(floor)
                evidence.record(**{MEASUREMENT: as_evidence(known)})
                if deployment.weights is not None and known.weights:
                    evidence.record(**{WEIGHTS_FILES: dict(weights_files(deployment.weights))})
            except (MeasurementError, EngineError) as problem:
                known = problem
            self._known[key] = known
        elif isinstance(known, Evaluation):
            evidence.record(**{MEASUREMENT: f"{kind_of(known.harness)} {floor.task}"})
        if not isinstance(known, Evaluation):
            raise known
        profile = deployment.profile.model_dump(mode="json")
        case = Case(known, deployment.deployment.name, profile, evidence.values, earlier)
        judgement = judge_case(judge, case)
        evidence.judge(judgement.outcome, judgement.sentence, **judgement.evidence)


def earlier_of(
    baseline: Measurements | None,
    floor: AccuracyFloor,
    deployment: PlannedDeployment,
    evidence: Evidence,
) -> Evaluation:
    """The baseline's evaluation of the same task, harness and deployment, kept as evidence.

    Raises:
        InconclusiveError: the baseline has none.
    """
    assert baseline is not None, "without --baseline this requirement is not claimed"
    text = f"{kind_of(floor.harness)} {floor.task}"
    key = Key(deployment.profile.name, deployment.deployment.name, text)
    if key not in baseline:
        raise InconclusiveError(f"the baseline has no {key}: nothing to compare with")
    earlier: Evaluation = baseline[key]
    evidence.record(**{BASELINE: as_evidence(earlier)})
    return earlier
