"""Small evaluations and floors; every test says only what it is about."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_qwenvl.measure.lm_eval_result import Evaluation, EvaluationItem
from pytest_qwenvl.profile_accuracy import AccuracyFloor

METRIC = "exact_match,none"
WEIGHTS = "sha256:" + "0" * 64


def floor(**kwargs: Any) -> AccuracyFloor:
    fields: dict[str, Any] = {
        "task": "colours", "deployment": "offline-1npu", "metric": METRIC, "items": 6,
        "floor": 0.5, "calibrated": True, "source": "invented for this test", **kwargs,
    }  # fmt: skip
    return AccuracyFloor(**fields)


def evaluation(right: int, n: int, empty: int = 0, **kwargs: Any) -> Evaluation:
    """``right`` right answers first, then wrong ones, of which the last ``empty`` are empty."""
    return answered(set(range(right)), n, empty, **kwargs)


def answered(right: Collection[int], n: int, empty: int = 0, **kwargs: Any) -> Evaluation:
    """An evaluation of ``n`` items of which those numbered in ``right`` are."""
    items = tuple(
        EvaluationItem(
            task="colours", doc_id=index, prompt_digest=f"p{index}", image_digests=("a",),
            answer="" if index >= n - empty else "red" if index in right else "blue",
            parsed="", target="red", score=float(index in right), finish_reason="stop",
        )
        for index in range(n)
    )  # fmt: skip
    whole = Evaluation(
        path=Path("results.json"), task="colours", metric=METRIC, harness="vllm-vlm",
        score=len(right) / n, stderr=None, items=items, limit=None, chat_template=True,
        max_images=None, task_versions={"colours": "1.0"}, lm_eval_version="0.4.13",
        model_arguments={}, weights=WEIGHTS,
    )  # fmt: skip
    return replace(whole, **kwargs)
