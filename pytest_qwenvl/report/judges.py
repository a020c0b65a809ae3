"""Judging a kept measurement again: by the name of the judge, with the profile's own numbers.

A requirement of the catalogue names its judge; the test that decides it during a run and ``gate``
afterwards reach the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError

from pytest_qwenvl.catalogue import COMPARING
from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.accuracy import judge_accuracy
from pytest_qwenvl.measure.accuracy_evidence import KIND as EVALUATION
from pytest_qwenvl.measure.answers import judge_answers
from pytest_qwenvl.measure.baseline import judge_against_baseline
from pytest_qwenvl.measure.judgement import Judgement
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.profile import AccuracyFloor


@dataclass(frozen=True)
class Case:
    """A measurement to judge, and what it is held against.

    Attributes:
        measurement: as its kind has it, e.g. ``Evaluation``.
        deployment: name of the deployment it was made on.
        profile: the model's profile as the report keeps it.
        evidence: of the result that was judged from it.
        baseline: the same measurement of an earlier run, for the judges that compare.
    """

    measurement: Any
    deployment: str
    profile: Mapping[str, Any]
    evidence: Mapping[str, Any]
    baseline: Any = None


def judge_case(judge: str, case: Case) -> Judgement:
    """Judge a case.

    Raises:
        MeasurementError: no such judge, a measurement of another kind, or a profile without the
            numbers it is held against.
    """
    if judge not in JUDGES:
        raise MeasurementError(f"no judge is called {judge!r}; there are: {', '.join(JUDGES)}")
    if judge in COMPARING and case.baseline is None:
        raise MeasurementError("there is no baseline to compare with")
    return JUDGES[judge].decide(case)


def _floor_of(case: Case) -> AccuracyFloor:
    for value in (case.measurement, case.baseline):
        if value is not None and not isinstance(value, Evaluation):
            raise MeasurementError(f"a {type(value).__name__} has no score; expected an evaluation")
    task = case.measurement.task
    for entry in case.profile.get("accuracy") or []:
        if isinstance(entry, dict) and (entry.get("task"), entry.get("deployment")) == (
            task,
            case.deployment,
        ):
            try:
                return AccuracyFloor.model_validate(entry)
            except ValidationError as problem:
                first = problem.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                raise MeasurementError(
                    f"the floor of {task} kept in the report cannot be read: {where}: "
                    f"{first['msg']}"
                ) from problem
    raise MeasurementError(
        f"the profile kept in the report has no floor of {task} on this deployment"
    )


class Judge(NamedTuple):
    """One way to judge: measurements of which kind, and how."""

    kind: str
    decide: Callable[[Case], Judgement]


JUDGES: dict[str, Judge] = {
    "score": Judge(EVALUATION, lambda case: judge_accuracy(case.measurement, _floor_of(case))),
    "answers": Judge(EVALUATION, lambda case: judge_answers(case.measurement, _floor_of(case))),
    "baseline": Judge(
        EVALUATION,
        lambda case: judge_against_baseline(case.measurement, case.baseline, _floor_of(case)),
    ),
}
