"""From repeated runs of one evaluation to a reference and a floor (pure)."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.baseline import incomparable_reasons
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.measure.statistics import lower_bound

FEWEST_RUNS = 5
_CONFIDENCE = 0.95
_DIGITS = 4


class UnevenItem(BaseModel):
    """An item that some runs answered right and others wrong; ``right``: how many runs did."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    doc_id: int
    right: int


class Reference(BaseModel):
    """What repeated runs of one evaluation on a trusted engine came to; shares are 0 to 1.

    Attributes:
        runs: run id -> score.
        spread: standard deviation of the scores (of a sample: n - 1).
        agreement: share of items that two runs both have right or both have wrong, over all pairs.
        same_answers: share of items that two runs answer word for word alike, over all pairs.
        uneven: the items on which the runs differ.
        versions, host: of the engine and the machine, as the reports have them.
        floor: the lowest score, and no more than a perfect one of so many items shows at 95 %.
        source: all of this in one sentence, for the profile.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    model: str
    deployment: str
    task: str
    metric: str
    task_versions: dict[str, str]
    harness: str
    lm_eval_version: str
    weights: str
    items: int
    runs: dict[str, float]
    mean: float
    spread: float
    lowest: float
    agreement: float
    same_answers: float
    uneven: list[UnevenItem]
    versions: dict[str, str]
    host: str
    floor: float
    source: str


def calibrate(
    evaluations: Mapping[str, Evaluation],
    *,
    model: str,
    deployment: str,
    versions: Mapping[str, str],
    host: str,
) -> Reference:
    """The reference that repeated runs of one evaluation make.

    Args:
        evaluations: by run id.
        versions, host: of all of these runs.

    Raises:
        MeasurementError: fewer than five runs, or runs of different things.
    """
    if len(evaluations) < FEWEST_RUNS:
        raise MeasurementError(
            f"{len(evaluations)} runs; a reference takes at least {FEWEST_RUNS}, or its spread "
            "says nothing"
        )
    (first_id, first), *others = evaluations.items()
    for run_id, other in others:
        reasons = incomparable_reasons(other, first)
        if _arguments(other) != _arguments(first):
            reasons.append(f"arguments: {_arguments(other)}, before {_arguments(first)}")
        if reasons:
            raise MeasurementError(
                f"run {run_id} and run {first_id} (the baseline) are not of one thing: "
                f"{'; '.join(reasons)}"
            )
    runs = list(evaluations.values())
    scores = [run.score for run in runs]
    # Exact over fractions: equal scores have a spread of exactly 0.
    average, spread = mean(scores), stdev(scores)
    lowest = min(scores)
    floor = min(lowest, lower_bound(first.n, first.n, _CONFIDENCE))
    # Rounded down: a floor above what was seen would be a floor nobody reached.
    floor = math.floor(floor * 10**_DIGITS) / 10**_DIGITS
    agreement, same_answers = _agreement(runs)
    engine = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Reference(
        model=model,
        deployment=deployment,
        task=first.task,
        metric=first.metric,
        task_versions=dict(first.task_versions),
        harness=first.harness,
        lm_eval_version=first.lm_eval_version,
        weights=first.weights,
        items=first.n,
        runs={run_id: run.score for run_id, run in evaluations.items()},
        mean=average,
        spread=spread,
        lowest=lowest,
        agreement=agreement,
        same_answers=same_answers,
        uneven=_uneven(runs),
        versions=dict(versions),
        host=host,
        floor=floor,
        source=(
            f"the lowest of {len(runs)} runs of {first.n} items, mean {average:.4f}, spread "
            f"{spread:.4f}, {agreement:.1%} of items right or wrong alike; {engine}, on {host}"
            + (
                "; as high as a perfect score of so few items shows"
                if floor < lowest - 1e-3
                else ""
            )
        ),
    )


# Where the weights lie is no matter, since their digest is known; nor is a server's port.
_PLACES = ("pretrained", "base_url")


def _arguments(evaluation: Evaluation) -> dict[str, Any]:
    """The engine's arguments, or those of the client that asked it."""
    return {name: it for name, it in evaluation.model_arguments.items() if name not in _PLACES}


def _agreement(runs: Sequence[Evaluation]) -> tuple[float, float]:
    pairs = list(itertools.combinations(runs, 2))
    n = runs[0].n * len(pairs)
    both = [pair for a, b in pairs for pair in zip(a.items, b.items, strict=True)]
    alike = sum(a.correct == b.correct for a, b in both)
    same = sum(a.answer == b.answer for a, b in both)
    return alike / n, same / n


def _uneven(runs: Sequence[Evaluation]) -> list[UnevenItem]:
    right = Counter((item.task, item.doc_id) for run in runs for item in run.items if item.correct)
    return [
        UnevenItem(task=task, doc_id=doc_id, right=count)
        for (task, doc_id), count in sorted(right.items())
        if count < len(runs)
    ]
