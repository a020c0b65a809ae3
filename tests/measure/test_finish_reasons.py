"""Why answers ended: written down beside lm-eval, read back, and joined to its items."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_qwenvl.engines.lm_eval_worker import write_down
from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.finish_reasons import FINISH_REASONS, with_finish_reasons
from tests.measure.evaluations import evaluation


def digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()


def item(index: int, prompt: str, answer: str) -> Any:
    whole = evaluation(0, 4).items[index]
    return replace(whole, prompt_digest=digest(prompt), answer=answer, finish_reason="")


ITEMS = (item(0, "a", "red"), item(1, "a", "blue"), item(2, "b", "red"), item(3, "b", "red"))
WHOLE = replace(evaluation(0, 4), items=ITEMS)


def generated(path: Path, *batches: list[tuple[str, str, str]]) -> Path:
    """What the worker writes when its engine answers batches of (prompt, answer, reason)."""

    def generate(_: Any, requests: list[dict[str, str]], **kwargs: Any) -> list[Any]:
        assert kwargs == {"max_tokens": 64}
        return [
            SimpleNamespace(outputs=[SimpleNamespace(text=answer, finish_reason=reason)])
            for _, answer, reason in batches[int(requests[0]["batch"])]
        ]

    file = path / FINISH_REASONS
    file.write_text("")
    written = write_down(generate, file)
    for number, batch in enumerate(batches):
        requests = [{"prompt": prompt, "batch": str(number)} for prompt, _, _ in batch]
        assert len(written(None, requests, max_tokens=64)) == len(batch)
    return file


def test_reasons_find_their_items_in_any_order(tmp_path: Path) -> None:
    file = generated(
        tmp_path,
        [("b", "red", "stop"), ("a", "blue", "length")],
        [("a", "red", "stop"), ("b", "red", "length")],
    )
    read = with_finish_reasons(WHOLE, file)
    assert [it.finish_reason for it in read.items[:2]] == ["stop", "length"]
    # Two items with one prompt and one answer have both reasons, in some order.
    assert sorted(it.finish_reason for it in read.items[2:]) == ["length", "stop"]


def broken(lines: list[str]) -> dict[str, list[str]]:
    return {
        "no line for document 3": lines[:3],
        "no line for document 1": [
            lines[0], lines[1].replace("blue", "Blue"), *lines[2:]
        ],
        "line 2.*truncated": [lines[0], lines[1][:20], *lines[2:]],
        "line 1": ["[]", *lines],
        "line 3": [*lines[:2], '{"answer": "red"}', lines[3]],
    }  # fmt: skip


LINES = [
    json.dumps({"prompt_digest": it.prompt_digest, "answer": it.answer, "finish_reason": "stop"})
    for it in ITEMS
]


@pytest.mark.parametrize("problem", broken(LINES))
def test_files_that_do_not_fit(problem: str, tmp_path: Path) -> None:
    file = tmp_path / FINISH_REASONS
    file.write_text("\n".join(broken(LINES)[problem]) + "\n")
    with pytest.raises(MeasurementError, match=problem):
        with_finish_reasons(WHOLE, file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="left no readable finish reasons"):
        with_finish_reasons(WHOLE, tmp_path / FINISH_REASONS)
