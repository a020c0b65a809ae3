"""Judging a kept measurement again: by the name of the judge, with the profile's own numbers.

A requirement of the catalogue names its judge; the test that decides it during a run and ``gate``
afterwards reach the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from pytest_qwenvl.catalogue import COMPARING
from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.accuracy import judge_accuracy
from pytest_qwenvl.measure.accuracy_evidence import KIND as EVALUATION
from pytest_qwenvl.measure.accuracy_evidence import SERVED_KIND as SERVED_EVALUATION
from pytest_qwenvl.measure.answers import judge_answers
from pytest_qwenvl.measure.baseline import judge_against_baseline
from pytest_qwenvl.measure.bench_result import LoadResult
from pytest_qwenvl.measure.judgement import Judgement
from pytest_qwenvl.measure.latency import judge_budgets, judge_load
from pytest_qwenvl.measure.latency_baseline import judge_against_baseline as judge_latency_baseline
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.measure.load_evidence import KIND as LOAD
from pytest_qwenvl.measure.soak import SOAK_JUDGES
from pytest_qwenvl.measure.soak_record import KIND as SOAK
from pytest_qwenvl.measure.soak_record import Soak
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.profile_latency import LatencyWorkload
from pytest_qwenvl.profile_soak import SoakLoad

TableT = TypeVar("TableT", AccuracyFloor, LatencyWorkload)


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
    return _table_of(case, AccuracyFloor, "accuracy", "task", case.measurement.task)


def _workload_of(case: Case) -> LatencyWorkload:
    for value in (case.measurement, case.baseline):
        if value is not None and not isinstance(value, LoadResult):
            raise MeasurementError(f"a {type(value).__name__} has no latency; expected a load")
    return _table_of(case, LatencyWorkload, "latency", "name", case.measurement.workload)


def _table_of(case: Case, table: type[TableT], where: str, key: str, name: str) -> TableT:
    """The table of the kept profile that says what the measurement is held against."""
    what = {"accuracy": "floor", "latency": "workload"}[where]
    for entry in case.profile.get(where) or []:
        if isinstance(entry, dict) and (entry.get(key), entry.get("deployment")) == (
            name,
            case.deployment,
        ):
            try:
                return table.model_validate(entry)
            except ValidationError as problem:
                first = problem.errors()[0]
                at = ".".join(str(part) for part in first["loc"])
                raise MeasurementError(
                    f"the {what} of {name} kept in the report cannot be read: {at}: {first['msg']}"
                ) from problem
    raise MeasurementError(
        f"the profile kept in the report has no {what} of {name} on this deployment"
    )


def _soak_load_of(case: Case) -> SoakLoad:
    if not isinstance(case.measurement, Soak):
        raise MeasurementError(
            f"a {type(case.measurement).__name__} was not watched over minutes; expected a soak"
        )
    table = case.profile.get("soak")
    if table is None:
        raise MeasurementError("the profile kept in the report has no soak")
    try:
        return SoakLoad.model_validate(table)
    except ValidationError as problem:
        first = problem.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise MeasurementError(
            f"the soak of the profile kept in the report cannot be read: {at}: {first['msg']}"
        ) from problem


class Judge(NamedTuple):
    """One way to judge: measurements of which kind, and how."""

    kind: str
    decide: Callable[[Case], Judgement]


def _score(case: Case) -> Judgement:
    return judge_accuracy(case.measurement, _floor_of(case))


def _answers(case: Case) -> Judgement:
    return judge_answers(case.measurement, _floor_of(case))


def _baseline(case: Case) -> Judgement:
    return judge_against_baseline(case.measurement, case.baseline, _floor_of(case))


def _of_soaks(judge: Callable[[Soak, SoakLoad], Judgement]) -> Judge:
    def decide(case: Case) -> Judgement:
        load = _soak_load_of(case)
        return judge(case.measurement, load)

    return Judge(SOAK, decide)


JUDGES: dict[str, Judge] = {
    "score": Judge(EVALUATION, _score),
    "answers": Judge(EVALUATION, _answers),
    "baseline": Judge(EVALUATION, _baseline),
    "served-score": Judge(SERVED_EVALUATION, _score),
    "served-answers": Judge(SERVED_EVALUATION, _answers),
    "served-baseline": Judge(SERVED_EVALUATION, _baseline),
    "load": Judge(LOAD, lambda case: judge_load(case.measurement, _workload_of(case))),
    "budgets": Judge(LOAD, lambda case: judge_budgets(case.measurement, _workload_of(case))),
    "latency-baseline": Judge(
        LOAD,
        lambda case: judge_latency_baseline(case.measurement, case.baseline, _workload_of(case)),
    ),
    **{name: _of_soaks(judge) for name, judge in SOAK_JUDGES.items()},
}
