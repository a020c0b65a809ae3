"""Strict reading of chat completions, their chunks, the list of models, and error bodies.

Form is checked against the types of the ``openai`` package, in strict mode; then meaning, which no
schema says: the model that was asked for, indices without gaps, token counts that add up. Known
departures of an engine are data (:func:`~pytest_qwenvl.protocol.findings.load_deviations`), handed
in by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.protocol.body import nulls, read_json, validate
from pytest_qwenvl.protocol.findings import Deviation, Finding, Kind, shorten, undocumented
from pytest_qwenvl.protocol.meaning import (
    created_findings,
    identity_findings,
    index_findings,
    required_usage_findings,
    usage_findings,
)

if TYPE_CHECKING:
    from openai.types import Model
    from openai.types.chat import ChatCompletion, ChatCompletionChunk
    from openai.types.chat.chat_completion_token_logprob import ChatCompletionTokenLogprob

__all__ = [
    "Deviation",
    "ErrorBody",
    "Finding",
    "read_chat_chunk",
    "read_chat_completion",
    "read_error",
    "read_models",
]

# Where OpenAI's specification (OpenAPI 2.3.0) allows no null though the openai types do.
_COMPLETION_NOT_NULL = (
    "choices[].message.annotations",
    "choices[].message.function_call",
    "choices[].message.tool_calls",
    "system_fingerprint",
    "usage.completion_tokens_details",
    "usage.prompt_tokens_details",
)
_CHUNK_NOT_NULL = (
    "choices[].delta.function_call",
    "choices[].delta.tool_calls",
    "system_fingerprint",
    "usage.completion_tokens_details",
    "usage.prompt_tokens_details",
)


def read_chat_completion(
    body: bytes | str,
    *,
    deviations: Sequence[Deviation] = (),
    model: str | None = None,
    choices: int = 1,
    now: float | None = None,
) -> tuple[ChatCompletion | None, list[Finding]]:
    """Read the body of an answer to a chat request that was not streamed.

    Args:
        body: as it came over the wire.
        deviations: departures that are no findings.
        model: the name that was asked for; not compared when None.
        choices: ``n`` of the request.
        now: seconds since the epoch, for the plausibility of ``created``; the clock when None.

    Returns:
        The completion, or None when its form is broken, and everything that is not as it must be.
    """
    from openai.types.chat import ChatCompletion

    data, findings = read_json(body)
    if data is None:
        return None, findings
    completion, more = validate(data, ChatCompletion)
    findings += more + nulls(data, _COMPLETION_NOT_NULL)
    if completion is not None:
        findings += identity_findings(completion, model, now)
        findings += index_findings([choice.index for choice in completion.choices], choices)
        for position, choice in enumerate(completion.choices):
            findings += _message(data["choices"][position], f"choices[{position}]")
            if choice.logprobs is not None:
                tokens = choice.logprobs.content or []
                findings += _logprobs(tokens, f"choices[{position}].logprobs.content")
        findings += required_usage_findings(completion.usage, data)
    return completion, undocumented(findings, "chat.completion", deviations)


def read_chat_chunk(
    body: bytes | str,
    *,
    deviations: Sequence[Deviation] = (),
    model: str | None = None,
    now: float | None = None,
) -> tuple[ChatCompletionChunk | None, list[Finding]]:
    """Read one chunk of a streamed answer by itself; rules over the whole stream are elsewhere.

    Arguments and result as for :func:`read_chat_completion`.
    """
    from openai.types.chat import ChatCompletionChunk

    data, findings = read_json(body)
    if data is None:
        return None, findings
    chunk, more = validate(data, ChatCompletionChunk)
    findings += more + nulls(data, _CHUNK_NOT_NULL)
    if chunk is not None:
        findings += identity_findings(chunk, model, now)
        for position, choice in enumerate(chunk.choices):
            if choice.logprobs is not None:
                tokens = choice.logprobs.content or []
                findings += _logprobs(tokens, f"choices[{position}].logprobs.content")
        if not chunk.choices and chunk.usage is None:
            findings.append(Finding("choices", "a choice, or usage", "neither", about="choices"))
        if chunk.usage is not None:
            findings += usage_findings(chunk.usage)
    return chunk, undocumented(findings, "chat.completion.chunk", deviations)


def read_models(
    body: bytes | str,
    *,
    deviations: Sequence[Deviation] = (),
    model: str | None = None,
    now: float | None = None,
) -> tuple[list[Model], list[Finding]]:
    """Read the body of ``GET /v1/models``.

    Args:
        body: as it came over the wire.
        deviations: departures that are no findings.
        model: a name that must be listed; not looked for when None.
        now: seconds since the epoch; the clock when None.

    Returns:
        The models whose form is sound, and everything that is not as it must be.
    """
    from openai.types import Model

    data, findings = read_json(body)
    if data is None:
        return [], findings
    if data.get("object") != "list":
        findings.append(Finding("object", "'list'", shorten(data.get("object"))))
    findings += [
        Finding(key, "no such field", shorten(value), "warning", "extra")
        for key, value in data.items()
        if key not in {"object", "data"}
    ]
    entries = data.get("data")
    if not isinstance(entries, list):
        kind: Kind = "type" if "data" in data else "missing"
        findings.append(Finding("data", "a list of models", shorten(entries), kind=kind))
        entries = []
    models: list[Model] = []
    for index, entry in enumerate(entries):
        path = f"data[{index}]"
        if not isinstance(entry, dict):
            findings.append(Finding(path, "an object", shorten(entry), kind="type"))
            continue
        listed, more = validate(entry, Model, path)
        findings += more
        if listed is not None:
            models.append(listed)
            if not listed.id:
                findings.append(Finding(f"{path}.id", "a name", "''"))
            findings += created_findings(listed.created, now, f"{path}.created")
    names = [listed.id for listed in models]
    if len(set(names)) != len(names):
        findings.append(Finding("data", "each model once", shorten(names)))
    if not models or (model is not None and model not in names):
        findings.append(Finding("data", repr(model) if model else "a model", shorten(names)))
    return models, undocumented(findings, "list", deviations)


@dataclass(frozen=True)
class ErrorBody:
    """What an error body says."""

    message: str
    type: str
    param: str | None
    code: str | int | None


def read_error(
    body: bytes | str, *, deviations: Sequence[Deviation] = (), status: int | None = None
) -> tuple[ErrorBody | None, list[Finding]]:
    """Read the body of an answer with an HTTP status of 400 or more.

    Args:
        body: as it came over the wire.
        deviations: departures that are no findings.
        status: of the answer; a numeric ``code`` must equal it.

    Returns:
        The error, or None when the body holds none, and everything that is not as it must be.
    """
    data, findings = read_json(body)
    if data is None:
        return None, findings
    error = data.get("error")
    if not isinstance(error, dict):
        kind: Kind = "type" if "error" in data else "missing"
        findings.append(Finding("error", "an object", shorten(error), kind=kind))
        return None, findings
    sound = True
    for key, nullable in (("message", False), ("type", False), ("param", True), ("code", True)):
        path, value = f"error.{key}", error.get(key)
        if key not in error:
            findings.append(Finding(path, "the key", "nothing", kind="missing"))
            sound = sound and nullable
        elif not isinstance(value, str) and not (nullable and value is None):
            findings.append(Finding(path, "a text", shorten(value), kind="type"))
            is_number = isinstance(value, int) and not isinstance(value, bool)
            sound = sound and key == "code" and is_number
    findings += [
        Finding(path, "no such field", shorten(value), "warning", "extra")
        for path, value in [
            *((key, value) for key, value in data.items() if key != "error"),
            *(
                (f"error.{key}", value)
                for key, value in error.items()
                if key not in {"message", "type", "param", "code"}
            ),
        ]
    ]
    if not sound:
        return None, undocumented(findings, "error", deviations)
    if not error["message"].strip():
        findings.append(Finding("error.message", "what went wrong", shorten(error["message"])))
    code = error.get("code")
    if status is not None and isinstance(code, int) and code != status:
        findings.append(Finding("error.code", f"the status {status}", str(code)))
    read = ErrorBody(error["message"], error["type"], error.get("param"), code)
    return read, undocumented(findings, "error", deviations)


def _message(choice: dict[str, Any], path: str) -> list[Finding]:
    findings = []
    message = choice["message"]
    for where, owner, key in ((path, choice, "logprobs"), (f"{path}.message", message, "refusal")):
        if key not in owner:
            findings.append(
                Finding(
                    f"{where}.{key}", "the key, null if need be", "nothing", "warning", "missing"
                )
            )
    calls = message.get("tool_calls") or []
    if choice["finish_reason"] == "tool_calls" and not calls:
        where = f"{path}.message.tool_calls"
        findings.append(Finding(where, "a tool call", "none", about="finish"))
    if "content" not in message:
        findings.append(Finding(f"{path}.message.content", "the key", "nothing", kind="missing"))
    elif not calls and not (message["content"] or message.get("refusal")):
        seen = shorten(message["content"])
        where = f"{path}.message.content"
        findings.append(Finding(where, "a text that is not empty", seen, about="content"))
    return findings


def _logprobs(tokens: Sequence[ChatCompletionTokenLogprob], path: str) -> list[Finding]:
    findings = []
    for index, token in enumerate(tokens):
        values = [token.logprob, *(top.logprob for top in token.top_logprobs)]
        # A probability of 1 may round to a logarithm a little above 0.
        if any(not value <= 1e-6 for value in values):
            seen = shorten(values)
            findings.append(
                Finding(f"{path}[{index}]", "logprobs of at most 0", seen, about="logprobs")
            )
    return findings
