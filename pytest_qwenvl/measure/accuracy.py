"""Accuracy: the evaluation that lm-eval runs, and whether its items prove a score below a floor.

lm-eval starts an engine of its own (``--model vllm-vlm``), so an evaluation needs the devices of an
offline deployment. Every item is kept, so that a score can be judged again without running.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_qwenvl.measure.judgement import Judgement
from pytest_qwenvl.measure.lm_eval_result import Evaluation, EvaluationItem, read_lm_eval
from pytest_qwenvl.measure.statistics import interval, judge_floor, lower_bound
from pytest_qwenvl.profile import AccuracyFloor, ArgumentValue, ModelProfile
from pytest_qwenvl.report.results import Outcome

__all__ = [
    "Evaluation",
    "EvaluationItem",
    "judge_accuracy",
    "lm_eval_arguments",
    "read_lm_eval",
]

FAR_ABOVE = 0.1
"""A score proven to lie this far above its floor earns a note: the floor is loose, or the items
are not those it was set with."""

# Text that lm-eval's key=value form hands on as the same string: it would split others at commas,
# or turn them into numbers, booleans, None or Python literals.
_PLAIN_TEXT = re.compile(r"[A-Za-z_./][\w./\-]*")
_NOT_TEXT = {"true", "false", "none", "inf", "infinity", "nan"}


def lm_eval_arguments(
    profile: ModelProfile,
    floor: AccuracyFloor,
    *,
    weights: str | Path,
    output_path: Path,
    include_path: Path | None = None,
    max_images: int | None = None,
    engine_arguments: Mapping[str, ArgumentValue] | None = None,
) -> list[str]:
    """Arguments of the ``lm_eval`` command: the tutorial's, with every item logged (pure).

    ``--model_args`` is written as ``key=value,key=value`` where that says everything, else as the
    JSON object that lm-eval also accepts, which a dict such as ``limit_mm_per_prompt`` or a path
    with a comma needs.

    Args:
        profile: of the model; named in the error for arguments that do not fit.
        floor: the task and its own model arguments, which win over ``engine_arguments``.
        weights: directory, or id on a hub.
        output_path: an empty directory; lm-eval writes results and samples below it.
        include_path: folder with the task's definition, for a task that lm-eval does not ship.
        max_images: most images in one prompt. lm-eval makes it the engine's limit *and drops
            further images without a word*, which :func:`judge_accuracy` looks for.
        engine_arguments: vLLM's, by their own names with underscores. ``limit_mm_per_prompt`` is
            left out when ``max_images`` is given: lm-eval replaces it.

    Raises:
        ValueError: the floor is of another harness.
    """
    if floor.harness != "vllm-vlm":
        raise ValueError(f"{profile.name}: {floor.task}: no such harness: {floor.harness}")
    model: dict[str, ArgumentValue] = {"pretrained": str(weights)}
    model.update(
        {name: value for name, value in (engine_arguments or {}).items() if value is not None}
    )
    model.update(floor.model_arguments)
    if max_images is not None:
        model.pop("limit_mm_per_prompt", None)
        model["max_images"] = max_images
    arguments = ["--model", floor.harness, "--model_args", _model_arguments(model)]
    arguments += ["--tasks", floor.task, "--batch_size", str(floor.batch_size)]
    if include_path is not None:
        arguments += ["--include_path", str(include_path)]
    return [
        *arguments,
        "--apply_chat_template",
        "--trust_remote_code",
        "--output_path",
        str(output_path),
        "--log_samples",
    ]


def _model_arguments(model: Mapping[str, ArgumentValue]) -> str:
    plain = {name: _plain(value) for name, value in model.items()}
    if None in plain.values():
        return json.dumps(dict(model))
    return ",".join(f"{name}={text}" for name, text in plain.items())


def _plain(value: ArgumentValue) -> str | None:
    """The value in lm-eval's key=value form; None where that form would change it."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return str(value) if value >= 0 else None
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) and not value.is_integer() else None
    if isinstance(value, str):
        fits = _PLAIN_TEXT.fullmatch(value) and value.lower() not in _NOT_TEXT
        return value if fits else None
    return None


def judge_accuracy(evaluation: Evaluation, floor: AccuracyFloor) -> Judgement:
    """Hold an evaluation against its floor by an exact one-sided binomial test.

    INVALID when the number would mean something else than the floor's: another number of items,
    ``--limit``, another harness, no chat template, dropped images, items that are not right or
    wrong. FAIL when too many answers are empty, or when the score lies below the floor at the
    floor's confidence; INCONCLUSIVE when it lies below but the items cannot tell; else PASS, with
    a note when it lies far above.
    """
    right = sum(item.score == 1 for item in evaluation.items)
    n = len(evaluation.items)
    empty = sum(not item.answer.strip() for item in evaluation.items)
    evidence: dict[str, Any] = {
        "task": evaluation.task,
        "task_versions": dict(evaluation.task_versions),
        "harness": evaluation.harness,
        "lm_eval_version": evaluation.lm_eval_version,
        "metric": evaluation.metric,
        "score": evaluation.score,
        "stderr": evaluation.stderr,
        "items": n,
        "right": right,
        "empty": empty,
        "floor": floor.floor,
        "confidence": floor.confidence,
        "calibrated": floor.calibrated,
        "result_file": str(evaluation.path),
    }
    reasons = _invalid_reasons(evaluation, floor)
    if reasons:
        evidence["invalid"] = reasons
        return Judgement(
            Outcome.INVALID, f"{floor.task}: not judged: {'; '.join(reasons)}", evidence
        )
    test = judge_floor(right, n, floor.floor, floor.confidence)
    evidence |= {
        "interval": list(interval(right, n, 0.95)),
        "p_value": test.p_value,
        "largest_failing": test.largest_failing,
    }
    scored = f"{floor.task}: {right} of {n} right ({evaluation.score:.4f}), floor {floor.floor:g}"
    stated = f"at {floor.confidence:.4g} confidence"
    if not floor.calibrated:
        stated += "; the floor is not calibrated"
    if empty > floor.maximum_empty * n:
        return Judgement(
            Outcome.FAIL,
            f"{scored}: {empty} of {n} answers are empty, {floor.maximum_empty:.1%} may be: the "
            "score means nothing",
            evidence,
        )
    if test.below:
        return Judgement(
            Outcome.FAIL,
            f"{scored}: below the floor {stated} (p = {test.p_value:.2g})",
            evidence,
        )
    if evaluation.score < floor.floor:
        return Judgement(
            Outcome.INCONCLUSIVE,
            f"{scored}: below the floor, but {n} items cannot tell {stated} (p = "
            f"{test.p_value:.2g}); {_failing(test.largest_failing, n)}",
            evidence,
        )
    if lower_bound(right, n, floor.confidence) > floor.floor + FAR_ABOVE:
        note = (
            f"more than {FAR_ABOVE:g} above the floor {stated}: see whether the floor is out of "
            "date, or these are other items than it was set with"
        )
        evidence["note"] = note
        return Judgement(Outcome.PASS, f"{scored}: {note}", evidence)
    return Judgement(Outcome.PASS, f"{scored}: not below the floor {stated}", evidence)


def _failing(largest_failing: int, n: int) -> str:
    if largest_failing < 0:
        return f"no result of {n} items could; it takes more items"
    return f"{largest_failing} right or fewer would prove it; more items tell smaller differences"


def _invalid_reasons(evaluation: Evaluation, floor: AccuracyFloor) -> list[str]:
    reasons = []
    if evaluation.task != floor.task or evaluation.metric != floor.metric:
        reasons.append(
            f"the result is of {evaluation.task} ({evaluation.metric}), the floor of "
            f"{floor.task} ({floor.metric})"
        )
    if evaluation.harness != floor.harness:
        reasons.append(f"lm-eval ran {evaluation.harness}, the floor is of {floor.harness}")
    if evaluation.limit is not None:
        reasons.append(f"lm-eval ran with --limit {evaluation.limit:g}")
    if len(evaluation.items) != floor.items:
        reasons.append(
            f"{len(evaluation.items)} items were evaluated, the floor is of {floor.items}"
        )
    if not evaluation.chat_template:
        reasons.append("the chat template was not applied")
    if evaluation.max_images is not None:
        most = evaluation.max_images
        dropped = sum(len(item.image_digests) > most for item in evaluation.items)
        if dropped:
            reasons.append(
                f"{dropped} items have more than max_images={most} images; lm-eval drops them"
            )
    graded = sum(item.score not in (0, 1) for item in evaluation.items)
    if graded:
        reasons.append(f"{graded} items are neither right nor wrong, which the exact test needs")
    return reasons
