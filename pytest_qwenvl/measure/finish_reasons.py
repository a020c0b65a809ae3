"""Why each answer of an evaluation ended, which lm-eval's own samples do not say.

``engines/lm_eval_worker.py`` writes it beside them, in the order of the batches. A line belongs to
the item with its prompt and answer; items that share both share their reasons in some order.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.measure.strict_json import parse_measured

FINISH_REASONS = "finish-reasons.jsonl"


def with_finish_reasons(evaluation: Evaluation, path: Path) -> Evaluation:
    """The evaluation with the finish reasons in ``path``.

    Raises:
        MeasurementError: the file is missing or broken, or has no line for an item.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as problem:
        raise MeasurementError(
            f"lm_eval left no readable finish reasons: {path}: {problem}; see its log"
        ) from problem
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            entry = parse_measured(line)
            if "error" in entry:
                continue
            key = (entry["prompt_digest"], entry["answer"])
            reasons[key].append(str(entry["finish_reason"]))
        except (ValueError, RecursionError, LookupError, TypeError) as problem:
            raise MeasurementError(f"{path}, line {number}: {problem}: truncated?") from problem
    items = []
    for item in evaluation.items:
        its = reasons[item.prompt_digest, item.answer]
        if not its:
            raise MeasurementError(
                f"{path} has no line for document {item.doc_id} of {item.task}: samples and "
                "finish reasons are not of the same evaluation"
            )
        items.append(replace(item, finish_reason=its.pop(0)))
    return replace(evaluation, items=tuple(items))


def failed_requests(path: Path) -> list[str]:
    """What became of the requests in ``path`` that a server did not answer; empty for none.

    For an evaluation that failed: whether it was the server. A file that is not there, or ends in
    the middle of a line, says nothing of it.
    """
    failed = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in path.read_text(encoding="utf-8").split("\n"):
            with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
                failed.append(str(parse_measured(line)["error"]))
    return failed
