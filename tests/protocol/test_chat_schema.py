"""Every planted corruption of a real body is found; the real body itself gives no finding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.protocol.chat_schema import (
    read_chat_chunk,
    read_chat_completion,
    read_error,
    read_models,
)
from pytest_qwenvl.protocol.findings import Deviation, Finding, load_deviations

BODIES = Path(__file__).parent / "bodies"
ROOT = Path(__file__).parents[2]
NOW = 1_795_365_600.0  # when the bodies were recorded
KNOWN = load_deviations(ROOT / "conformance" / "deviations.toml", "0.32.0+cpu")

Edit = Callable[[Any], object]


def completion(body: bytes | str, **kwargs: Any) -> list[Finding]:
    arguments = {"deviations": KNOWN, "model": "tiny", "now": NOW, **kwargs}
    return read_chat_completion(body, **arguments)[1]


def edited(name: str, edit: Edit) -> bytes:
    data = json.loads((BODIES / name).read_bytes())
    edit(data)
    return json.dumps(data).encode()


def test_real_completions_are_clean() -> None:
    read, findings = read_chat_completion(
        (BODIES / "chat-image.json").read_bytes(), deviations=KNOWN, model="tiny", now=NOW
    )
    assert findings == []
    assert read is not None
    assert read.usage is not None
    assert read.usage.prompt_tokens == 22
    assert completion((BODIES / "chat-text-logprobs-n2.json").read_bytes(), choices=2) == []


def test_real_empty_answer_is_found() -> None:
    # The untrained checkpoint answered four tokens that decode to nothing.
    findings = completion((BODIES / "chat-system-user.json").read_bytes())
    assert [(each.path, each.severity) for each in findings] == [
        ("choices[0].message.content", "error")
    ]


def test_the_published_older_body_is_clean_for_its_version() -> None:
    body = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": int(NOW), "model": "tiny",
        "choices": [{
            "index": 0, "logprobs": None, "finish_reason": "stop", "stop_reason": None,
            "token_ids": None,
            "message": {
                "role": "assistant", "content": "red", "refusal": None, "annotations": None,
                "audio": None, "function_call": None, "tool_calls": [], "reasoning": None,
                "reasoning_content": None,
            },
        }],
        "service_tier": None, "system_fingerprint": None, "prompt_logprobs": None,
        "prompt_token_ids": None, "kv_transfer_params": None,
        "usage": {"prompt_tokens": 73, "total_tokens": 89, "completion_tokens": 16,
                  "prompt_tokens_details": None},
    }  # fmt: skip
    old = load_deviations(ROOT / "conformance" / "deviations.toml", "0.12.0rc1")
    assert completion(json.dumps(body), deviations=old) == []
    newer = completion(json.dumps(body))
    assert [each.path for each in newer] == ["choices[0].message.reasoning_content"]


def drop(*keys: str | int) -> Edit:
    def edit(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        del data[keys[-1]]

    return edit


def put(value: object, *keys: str | int) -> Edit:
    def edit(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return edit


CORRUPTIONS: dict[str, tuple[Edit, str, str]] = {
    # what is planted: the edit, where it must be found, how severe it is
    "no id": (drop("id"), "id", "error"),
    "empty id": (put("", "id"), "id", "error"),
    "number for id": (put(7, "id"), "id", "error"),
    "another object": (put("chat.completions", "object"), "object", "error"),
    "no object": (drop("object"), "object", "error"),
    "text for created": (put("1795365536", "created"), "created", "error"),
    "bool for created": (put(True, "created"), "created", "error"),
    "fraction for created": (put(NOW + 0.5, "created"), "created", "error"),
    "created in milliseconds": (put(int(NOW * 1000), "created"), "created", "error"),
    "created zero": (put(0, "created"), "created", "error"),
    "another model": (put("other", "model"), "model", "error"),
    "null model": (put(None, "model"), "model", "error"),
    "no choices": (drop("choices"), "choices", "error"),
    "empty choices": (put([], "choices"), "choices", "error"),
    "object for choices": (put({}, "choices"), "choices", "error"),
    "index beyond": (put(1, "choices", 0, "index"), "choices", "error"),
    "bool for index": (put(False, "choices", 0, "index"), "choices[0].index", "error"),
    "no message": (drop("choices", 0, "message"), "choices[0].message", "error"),
    "user role": (put("user", "choices", 0, "message", "role"),
                  "choices[0].message.role", "error"),
    "no role": (drop("choices", 0, "message", "role"), "choices[0].message.role", "error"),
    "no content": (drop("choices", 0, "message", "content"),
                   "choices[0].message.content", "error"),
    "null content": (put(None, "choices", 0, "message", "content"),
                     "choices[0].message.content", "error"),
    "empty content": (put("", "choices", 0, "message", "content"),
                      "choices[0].message.content", "error"),
    "list for content": (put(["a"], "choices", 0, "message", "content"),
                         "choices[0].message.content", "error"),
    "no refusal": (drop("choices", 0, "message", "refusal"),
                   "choices[0].message.refusal", "warning"),
    "no logprobs": (drop("choices", 0, "logprobs"), "choices[0].logprobs", "warning"),
    "unknown finish": (put("eos", "choices", 0, "finish_reason"),
                       "choices[0].finish_reason", "error"),
    "null finish": (put(None, "choices", 0, "finish_reason"),
                    "choices[0].finish_reason", "error"),
    "no finish": (drop("choices", 0, "finish_reason"), "choices[0].finish_reason", "error"),
    "finish by absent tools": (put("tool_calls", "choices", 0, "finish_reason"),
                               "choices[0].message.tool_calls", "error"),
    "no usage": (drop("usage"), "usage", "error"),
    "null usage": (put(None, "usage"), "usage", "error"),
    "usage does not add up": (put(33, "usage", "total_tokens"), "usage.total_tokens", "error"),
    "usage above its sum": (put(35, "usage", "total_tokens"), "usage.total_tokens", "error"),
    "negative completion": (put(-12, "usage", "completion_tokens"),
                            "usage.completion_tokens", "error"),
    "null completion": (put(None, "usage", "completion_tokens"),
                        "usage.completion_tokens", "error"),
    "no prompt": (put(0, "usage", "prompt_tokens"), "usage.prompt_tokens", "error"),
    "text for prompt": (put("22", "usage", "prompt_tokens"), "usage.prompt_tokens", "error"),
    "more cached than prompt": (put({"cached_tokens": 23}, "usage", "prompt_tokens_details"),
                                "usage.prompt_tokens_details.cached_tokens", "error"),
    "unknown field": (put(1, "surprise"), "surprise", "warning"),
    "unknown field below": (put(1, "choices", 0, "message", "surprise"),
                            "choices[0].message.surprise", "warning"),
    "unknown field in usage": (put(1, "usage", "surprise"), "usage.surprise", "warning"),
    "null tool calls": (put(None, "choices", 0, "message", "tool_calls"),
                        "choices[0].message.tool_calls", "warning"),
    "infinity": (put(float("1e308") * 10, "usage", "x"), "$", "error"),
}  # fmt: skip


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_planted_corruption_is_found(name: str) -> None:
    edit, path, severity = CORRUPTIONS[name]
    findings = completion(edited("chat-image.json", edit))
    assert (path, severity) in [(each.path, each.severity) for each in findings], findings


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"created":1795365536', b'"created":1795365536,"created":1795365536'),
        (b'"prompt_tokens":22', b'"prompt_tokens":22,"prompt_tokens":22'),
        (b'"metrics":null', b'"metrics":NaN'),
        (b'"metrics":null', b'"metrics":-Infinity'),
        (b'"metrics":null', b'"metrics":1e999'),
        (b'"metrics":null}', b'"metrics":null'),
        (b'"metrics":null}', b'"metrics":null}{}'),
        (b'"tiny"', b'"tin\xff"'),
    ],
)
def test_what_json_hides_is_found(old: bytes, new: bytes) -> None:
    body = (BODIES / "chat-image.json").read_bytes()
    assert old in body
    findings = completion(body.replace(old, new))
    assert [each.kind for each in findings] == ["json"]
    assert findings[0].severity == "error"


@pytest.mark.parametrize("body", ["", "[]", "null", '"text"', "[" * 100_000])
def test_bodies_that_are_no_object(body: str) -> None:
    read, findings = read_chat_completion(body)
    assert read is None
    assert [each.severity for each in findings] == ["error"]


def test_every_deviation_of_a_body_is_documented_and_needed() -> None:
    body = (BODIES / "chat-image.json").read_bytes()
    paths = {each.path for each in completion(body, deviations=())}
    assert paths == {
        "choices[0].message.annotations", "choices[0].message.function_call",
        "choices[0].message.reasoning", "choices[0].routed_experts", "choices[0].stop_reason",
        "choices[0].token_ids", "ec_transfer_params", "kv_transfer_params", "metrics",
        "prompt_logprobs", "prompt_text", "prompt_token_ids",
        "usage.completion_tokens_details", "usage.prompt_tokens_details",
    }  # fmt: skip
    assert {each.severity for each in completion(body, deviations=())} == {"warning"}


def test_a_deviation_covers_its_own_body_and_kind_only() -> None:
    body = edited("chat-image.json", put(1, "surprise"))
    for wrong in (("chat.completion.chunk", "extra"), ("chat.completion", "null")):
        extra = Deviation(wrong[0], "surprise", wrong[1], "0.1", "", "for a test")  # type: ignore[arg-type]
        assert [each.path for each in completion(body, deviations=[*KNOWN, extra])] == ["surprise"]
    right = Deviation("chat.completion", "surprise", "extra", "0.1", "", "for a test")
    assert completion(body, deviations=[*KNOWN, right]) == []


def test_positive_logprob_is_found() -> None:
    def edit(data: Any) -> None:
        data["choices"][1]["logprobs"]["content"][0]["top_logprobs"][0]["logprob"] = 0.5

    findings = completion(edited("chat-text-logprobs-n2.json", edit), choices=2)
    assert [each.path for each in findings] == ["choices[1].logprobs.content[0]"]


def test_number_of_choices_and_repeated_index() -> None:
    body = (BODIES / "chat-text-logprobs-n2.json").read_bytes()
    assert [each.path for each in completion(body, choices=3)] == ["choices"]
    repeated = edited("chat-text-logprobs-n2.json", put(0, "choices", 1, "index"))
    assert [each.path for each in completion(repeated, choices=2)] == ["choices"]


def test_models() -> None:
    body = (BODIES / "models.json").read_bytes()
    models, findings = read_models(body, deviations=KNOWN, model="tiny", now=NOW)
    assert findings == []
    assert [each.id for each in models] == ["tiny"]
    assert [str(each) for each in read_models(body, deviations=KNOWN, model="big", now=NOW)[1]] == [
        "data: expected 'big', seen ['tiny'] (error)"
    ]


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (put("models", "object"), "object"),
        (drop("data"), "data"),
        (put({}, "data"), "data"),
        (put([], "data"), "data"),
        (put([1], "data"), "data[0]"),
        (drop("data", 0, "id"), "data[0].id"),
        (put("", "data", 0, "id"), "data[0].id"),
        (put("list", "data", 0, "object"), "data[0].object"),
        (put(None, "data", 0, "owned_by"), "data[0].owned_by"),
        (put(12, "data", 0, "created"), "data[0].created"),
        (put(1, "data", 0, "surprise"), "data[0].surprise"),
        (put(1, "surprise"), "surprise"),
        (lambda data: data["data"].append(data["data"][0]), "data"),
    ],
)
def test_corrupt_models(edit: Edit, path: str) -> None:
    findings = read_models(edited("models.json", edit), deviations=KNOWN, now=NOW)[1]
    assert path in [each.path for each in findings]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("error-too-many-images.json", 400),
        ("error-unknown-model.json", 404),
        ("error-malformed-json.json", 400),
        ("error-missing-messages.json", 400),
    ],
)
def test_real_errors_are_clean(name: str, status: int) -> None:
    body = (BODIES / name).read_bytes()
    error, findings = read_error(body, deviations=KNOWN, status=status)
    assert findings == []
    assert error is not None
    assert error.code == status
    assert [each.path for each in read_error(body, status=status)[1]] == ["error.code"]
    assert [each.path for each in read_error(body, deviations=KNOWN, status=500)[1]] == [
        "error.code"
    ]


@pytest.mark.parametrize(
    ("edit", "path", "readable"),
    [
        (drop("error"), "error", False),
        (put("no", "error"), "error", False),
        (drop("error", "message"), "error.message", False),
        (put(None, "error", "message"), "error.message", False),
        (put("  ", "error", "message"), "error.message", True),
        (drop("error", "type"), "error.type", False),
        (drop("error", "param"), "error.param", True),
        (drop("error", "code"), "error.code", True),
        (put(3, "error", "param"), "error.param", False),
        (put(True, "error", "code"), "error.code", False),
        (put("trace", "error", "traceback"), "error.traceback", True),
        (put("trace", "detail"), "detail", True),
    ],
)
def test_corrupt_errors(edit: Edit, path: str, readable: bool) -> None:
    body = edited("error-too-many-images.json", edit)
    deviations = () if path == "error.code" else KNOWN
    error, findings = read_error(body, deviations=deviations)
    assert path in [each.path for each in findings]
    assert (error is not None) is readable


def test_an_error_body_is_no_completion_and_the_other_way_round() -> None:
    error = (BODIES / "error-too-many-images.json").read_bytes()
    read, findings = read_chat_completion(error)
    assert read is None
    assert any(each.severity == "error" for each in findings)
    assert read_error((BODIES / "chat-image.json").read_bytes())[0] is None


def test_chunk_without_anything() -> None:
    chunk = {"id": "a", "object": "chat.completion.chunk", "created": int(NOW), "model": "tiny",
             "choices": []}  # fmt: skip
    assert [each.path for each in read_chat_chunk(json.dumps(chunk), now=NOW)[1]] == ["choices"]


def test_finding_reads_as_a_sentence() -> None:
    finding = Finding("usage.total_tokens", "22 + 12 = 34", "33")
    assert str(finding) == "usage.total_tokens: expected 22 + 12 = 34, seen 33 (error)"
