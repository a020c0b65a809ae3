"""Responses read strictly: a real body is clean, planted corruptions are found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.protocol.findings import load_deviations
from pytest_qwenvl.protocol.responses_schema import output_text, read_response

NOW = 1_795_376_397.0  # when the body was recorded
KNOWN = load_deviations(Path(__file__).parents[2] / "conformance" / "deviations.toml", "0.32.0+cpu")
# As vLLM 0.32.0 sent it.
REAL: dict[str, Any] = {
    "id": "resp_ba6b55855a56871e", "created_at": int(NOW), "incomplete_details": None,
    "instructions": None, "metadata": None, "model": "tiny", "object": "response",
    "output": [{
        "id": "msg_aec5fd93e7bd6681",
        "content": [{"annotations": [], "text": "Hello!", "type": "output_text",
                     "logprobs": None}],
        "role": "assistant", "status": "completed", "type": "message", "phase": None,
    }],
    "parallel_tool_calls": True, "temperature": 0.0, "tool_choice": "none", "tools": [],
    "top_p": 1.0, "background": False, "max_output_tokens": 20, "max_tool_calls": None,
    "previous_response_id": None, "prompt": None, "reasoning": None, "service_tier": "auto",
    "status": "completed", "text": None, "top_logprobs": None, "truncation": "disabled",
    "usage": {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0,
                                 "input_tokens_per_turn": [], "cached_tokens_per_turn": []},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0, "tool_output_tokens": 0,
                                  "output_tokens_per_turn": [],
                                  "tool_output_tokens_per_turn": []},
        "total_tokens": 14,
    },
    "user": None, "presence_penalty": 0.0, "frequency_penalty": 0.0, "kv_transfer_params": None,
    "ec_transfer_params": None, "input_messages": None, "output_messages": None,
}  # fmt: skip


def paths(edit: Callable[[Any], object] = lambda data: None) -> list[str]:
    data = copy.deepcopy(REAL)
    edit(data)
    findings = read_response(json.dumps(data), deviations=KNOWN, model="tiny", now=NOW)[1]
    return [each.path for each in findings]


def test_real_response_is_clean() -> None:
    assert paths() == []
    assert output_text(REAL) == "Hello!"


def test_a_server_without_the_newest_count_is_clean() -> None:
    assert paths(lambda data: data["usage"]["input_tokens_details"].pop("cache_write_tokens")) == []


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (lambda data: data.update(id="chatcmpl-1"), "id"),
        (lambda data: data.update(model="other"), "model"),
        (lambda data: data.update(object="chat.completion"), "object"),
        (lambda data: data.update(created_at=12), "created_at"),
        (lambda data: data.update(usage=None), "usage"),
        (lambda data: data["usage"].update(total_tokens=15), "usage.total_tokens"),
        (lambda data: data["usage"].pop("output_tokens"), "usage.output_tokens"),
        (lambda data: data.update(surprise=1), "surprise"),
        (lambda data: data.pop("output"), "output"),
        (lambda data: data.update(status="done"), "status"),
    ],
)
def test_planted_corruption_is_found(edit: Callable[[Any], object], path: str) -> None:
    assert path in paths(edit)


@pytest.mark.parametrize("body", ["", "[]", "not JSON"])
def test_bodies_that_are_no_object(body: str) -> None:
    read, findings = read_response(body)
    assert read is None
    assert findings
