"""Completions read strictly: real bodies are clean, planted corruptions are found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.protocol.completion_schema import read_completion, read_completion_chunk
from pytest_qwenvl.protocol.findings import Finding, load_deviations
from pytest_qwenvl.protocol.stream import read_stream

ROOT = Path(__file__).parents[2]
NOW = 1_795_376_397.0  # when the bodies were recorded
KNOWN = load_deviations(ROOT / "conformance" / "deviations.toml", "0.32.0+cpu")
# As vLLM 0.32.0 sent them, the lists shortened.
COMPLETION: dict[str, Any] = {
    "id": "cmpl-80cd885439df5544", "object": "text_completion", "created": int(NOW),
    "model": "tiny",
    "choices": [
        {
            "index": 0, "text": "The picture",
            "logprobs": {
                "text_offset": [0, 3], "token_logprobs": [None, -18.9],
                "tokens": ["The", " picture"], "top_logprobs": [None, {" picture": -18.9}],
            },
            "finish_reason": "length", "stop_reason": None, "token_ids": None,
            "prompt_logprobs": [None], "prompt_token_ids": None, "routed_experts": None,
        },
        {
            "index": 1, "text": "Hello", "logprobs": None, "finish_reason": "stop",
            "stop_reason": None, "token_ids": None, "prompt_logprobs": None,
            "prompt_token_ids": None, "routed_experts": None,
        },
    ],
    "service_tier": None, "system_fingerprint": "vllm-0.32.0-a2d95f77",
    "usage": {"prompt_tokens": 4, "total_tokens": 12, "completion_tokens": 8,
              "prompt_tokens_details": None, "completion_tokens_details": None},
    "kv_transfer_params": None, "ec_transfer_params": None, "metrics": None,
}  # fmt: skip
IDENTITY = {"id": "cmpl-9ff5782e87f165da", "object": "text_completion", "created": int(NOW),
            "model": "tiny"}  # fmt: skip


def chunk(text: str, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason,
              "stop_reason": None, "prompt_token_ids": None, "token_ids": None}  # fmt: skip
    return {**IDENTITY, "choices": [choice], **more}


USAGE = {**IDENTITY, "choices": [],
         "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}  # fmt: skip
CHUNKS = [chunk("Star"), chunk("]\n", "length"), USAGE]


def findings(edit: Callable[[Any], object] = lambda data: None, **kwargs: Any) -> list[Finding]:
    data = json.loads(json.dumps(COMPLETION))
    edit(data)
    arguments = {"deviations": KNOWN, "model": "tiny", "choices": 2, "now": NOW, **kwargs}
    return read_completion(json.dumps(data), **arguments)[1]


def test_real_completion_is_clean() -> None:
    assert findings() == []
    without = {each.path for each in findings(deviations=())}
    assert {"choices[0].stop_reason", "service_tier", "usage.prompt_tokens_details"} <= without


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (lambda data: data.update(object="chat.completion"), "object"),
        (lambda data: data.update(model="other"), "model"),
        (lambda data: data.update(id=" "), "id"),
        (lambda data: data.update(created=1), "created"),
        (lambda data: data.update(surprise=1), "surprise"),
        (lambda data: data.pop("usage"), "usage"),
        (lambda data: data["usage"].update(total_tokens=13), "usage.total_tokens"),
        (lambda data: data["choices"].pop(), "choices"),
        (lambda data: data["choices"][0].update(index=1), "choices"),
        (lambda data: data["choices"][0].update(text=None), "choices[0].text"),
        (lambda data: data["choices"][0].update(finish_reason=None), "choices[0].finish_reason"),
        (lambda data: data["choices"][0]["logprobs"].update(tokens="The picture"),
         "choices[0].logprobs.tokens"),
        (lambda data: data["choices"][0]["logprobs"].update(token_logprobs=[-1.0, None]),
         "choices[0].logprobs.token_logprobs[1]"),
    ],
)  # fmt: skip
def test_planted_corruption_is_found(edit: Callable[[Any], object], path: str) -> None:
    assert path in [each.path for each in findings(edit)]


def stream(chunks: list[dict[str, Any]], **kwargs: Any) -> Any:
    events = [b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks]
    arguments = {"deviations": KNOWN, "model": "tiny", "now": NOW, "usage_asked": True, **kwargs}
    return read_stream(
        [*events, b"data: [DONE]\n\n"], "text/event-stream", completions=True, **arguments
    )


def test_real_stream_is_clean() -> None:
    reading = stream(CHUNKS)
    assert reading.findings == ()
    assert (reading.text, reading.finish_reasons, reading.chunks) == ("Star]\n", ("length",), 3)
    assert reading.usage.completion_tokens == 2
    assert reading.bodies == tuple(CHUNKS)


@pytest.mark.parametrize(
    ("chunks", "about"),
    [
        ([chunk("Star"), chunk("]\n"), USAGE], "finish"),
        ([chunk("Star", "stop"), chunk("]\n", "length"), USAGE], "finish"),
        ([chunk("Star"), chunk("]\n", "eos"), USAGE], "form"),
        ([chunk("Star"), chunk("]\n", "length")], "usage"),
        ([chunk("Star"), chunk("]\n", "length", id="cmpl-other"), USAGE], "id"),
        ([chunk("Star"), chunk("]\n", "length", model="other"), USAGE], "model"),
        ([chunk(""), chunk("", "length"), USAGE], "content"),
        ([chunk("Star", surprise=1), chunk("]\n", "length"), USAGE], "form"),
    ],
)
def test_planted_corruption_of_a_stream_is_found(chunks: list[dict[str, Any]], about: str) -> None:
    assert about in [each.about for each in stream(chunks).findings]


def test_chunk_of_a_chat_is_no_completion() -> None:
    chat = {**IDENTITY, "object": "chat.completion.chunk", "choices": []}
    read, found = read_completion_chunk(json.dumps(chat), now=NOW)
    assert read is None
    assert "object" in [each.path for each in found]
