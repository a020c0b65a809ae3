"""Accuracy: the evaluation that lm-eval runs, and whether its items prove a score below a floor.

lm-eval starts an engine of its own (``--model vllm-vlm``), so an evaluation needs the devices of an
offline deployment. Every item is kept, so that a score can be judged again without running.
"""

from __future__ import annotations

from typing import Any

from pytest_qwenvl.measure.answers import answer_counts, answer_problems
from pytest_qwenvl.measure.judgement import Judgement
from pytest_qwenvl.measure.lm_eval_command import lm_eval_arguments
from pytest_qwenvl.measure.lm_eval_result import Evaluation, EvaluationItem, read_lm_eval
from pytest_qwenvl.measure.statistics import interval, judge_floor, lower_bound
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.report.results import Outcome

__all__ = [
    "Evaluation",
    "EvaluationItem",
    "invalid_reasons",
    "judge_accuracy",
    "lm_eval_arguments",
    "read_lm_eval",
]

FAR_ABOVE = 0.1
"""A score proven to lie this far above its floor earns a note: the floor is loose, or the items
are not those it was set with."""


def judge_accuracy(evaluation: Evaluation, floor: AccuracyFloor) -> Judgement:
    """Hold an evaluation against its floor by an exact one-sided binomial test.

    INVALID when the number would mean something else than the floor's (:func:`invalid_reasons`).
    FAIL when too many answers are none, or when the score lies below the floor at the floor's
    confidence; INCONCLUSIVE when it lies below but the items cannot tell, and when it does not but
    the floor is not calibrated; else PASS, with a note when it lies far above.
    """
    right = sum(item.score == 1 for item in evaluation.items)
    n = len(evaluation.items)
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
        **answer_counts(evaluation, floor),
        "floor": floor.floor,
        "confidence": floor.confidence,
        "calibrated": floor.calibrated,
        "result_file": str(evaluation.path),
    }
    reasons = invalid_reasons(evaluation, floor)
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
    if problems := answer_problems(evaluation, floor):
        return Judgement(
            Outcome.FAIL, f"{scored}: {'; '.join(problems)}: the score means nothing", evidence
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
    if not floor.calibrated:
        return Judgement(
            Outcome.INCONCLUSIVE,
            f"{scored}: not below it, but the floor is not calibrated, so that no run can pass it; "
            "make it from five runs or more on an engine you trust (pytest-qwenvl calibrate)",
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


def invalid_reasons(evaluation: Evaluation, floor: AccuracyFloor) -> list[str]:
    """Why an evaluation is not what the floor is about; empty when it is.

    Another task, harness or number of items, ``--limit``, no chat template, images that lm-eval
    dropped, items that are neither right nor wrong.
    """
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
