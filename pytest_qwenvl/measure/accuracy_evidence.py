"""An evaluation as a report keeps it: every item, so that it can be judged again without running.

The report's key ``measurement`` holds it: ``kind``, ``name`` (the task), and the fields of
``Evaluation``. The two harnesses are of two kinds, so that nothing ever pairs or judges one with
what is the other's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.lm_eval_result import Evaluation, check_items
from pytest_qwenvl.profile_accuracy import SERVED_HARNESS

KIND = "evaluation"
"""Of a model that lm-eval loaded itself."""
SERVED_KIND = "served-evaluation"
"""Of a model that lm-eval asked over a server's chat completions."""
KINDS = (KIND, SERVED_KIND)


def kind_of(harness: str) -> str:
    """The kind of an evaluation by this harness; one that is unknown fits no floor anyway."""
    return SERVED_KIND if harness == SERVED_HARNESS else KIND


def as_evidence(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON values; :func:`evaluation_from` reads them back unchanged."""
    values: dict[str, Any] = _adapter().dump_python(evaluation, mode="json")
    return {"kind": kind_of(evaluation.harness), "name": evaluation.task, **values}


def evaluation_from(evidence: Mapping[str, Any]) -> Evaluation:
    """The evaluation that :func:`as_evidence` wrote.

    Raises:
        MeasurementError: it is none, or does not fit itself: an item is missing or there twice,
            the items do not give the score.
    """
    kind = evidence.get("kind")
    if kind not in KINDS:
        raise MeasurementError(f"the report keeps a {kind!r}, no {KIND}")
    fields = {name: value for name, value in evidence.items() if name not in ("kind", "name")}
    try:
        evaluation = _adapter().validate_python(fields)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MeasurementError(
            f"the evaluation kept in the report cannot be read: {where}: {first['msg']}"
        ) from problem
    if kind != kind_of(evaluation.harness):
        raise MeasurementError(
            f"the report keeps a {kind!r}, and lm-eval ran {evaluation.harness}, which makes a "
            f"{kind_of(evaluation.harness)!r}"
        )
    check_items(evaluation.items, evaluation.score, f"{evaluation.task} {evaluation.metric}")
    return evaluation


@cache
def _adapter() -> TypeAdapter[Evaluation]:
    return TypeAdapter(Evaluation)
