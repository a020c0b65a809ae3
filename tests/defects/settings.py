"""Defects of what a request asks for: fields dropped, changed, misread; texts cut or lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.defects.messages import Request, Response, error, parts_of
from tests.defects.planting import Body, Planted, any_request, asked


def _drops(name: str, field: str, *expected: str) -> None:
    """A server that does not know a field of chat requests."""

    @asked(name, f"ignores {field}", *expected)
    def _(_: Planted, request: Request) -> None:
        request.document.pop(field, None)


for _field, *_expected in (
    ("max_tokens", "OAI-002"),
    ("max_completion_tokens", "OAI-002"),
    ("stop", "OAI-011", "STR-013"),
    ("seed", "OAI-013"),
    ("top_p", "OAI-016"),
    ("top_k", "OAI-029"),
    ("min_p", "OAI-029"),
    ("logit_bias", "OAI-017"),
    ("frequency_penalty", "OAI-018"),
    ("presence_penalty", "OAI-018"),
    ("ignore_eos", "OAI-030"),
    ("min_tokens", "OAI-030"),
    ("include_stop_str_in_output", "OAI-030"),
    ("response_format", "OAI-031", "OAI-032", "OAI-033"),
    ("structured_outputs", "OAI-034"),
    ("tool_choice", "OAI-035", "OAI-036"),
    ("stream_options", "STR-007"),
    ("logprobs", "OAI-019", "STR-011"),
):
    _drops(f"{_field.replace('_', '-')}-ignored", _field, *_expected)


def _changes(name: str, summary: str, *expected: str) -> Callable[[Callable[[Body], Any]], Any]:
    """A defect of the JSON of chat requests, changed in place."""

    def add(function: Callable[[Body], Any]) -> Any:
        @asked(name, summary, *expected)
        def _(_: Planted, request: Request) -> None:
            function(request.document)

        return function

    return add


@_changes("temperature-ignored", "answers greedily at any temperature", "OAI-015", "OAI-012")
def _(body: Body) -> None:
    if isinstance(body.get("temperature"), float) and body["temperature"] > 0:
        body["temperature"] = 0.0


@_changes("temperature-zero-is-one", "takes a temperature of 0 for the default", "OAI-014")
def _(body: Body) -> None:
    if body.get("temperature") == 0:
        body["temperature"] = 1.0


@_changes("one-seed-for-all", "answers every seed alike", "OAI-013")
def _(body: Body) -> None:
    if isinstance(body.get("seed"), int):
        body["seed"] = 1


@_changes("first-stop-only", "knows the first of several stop strings", "OAI-011")
def _(body: Body) -> None:
    if isinstance(body.get("stop"), list):
        body["stop"] = body["stop"][:1]


@_changes("penalties-negated", "rewards what it should penalise", "OAI-018")
def _(body: Body) -> None:
    for name in ("frequency_penalty", "presence_penalty"):
        if isinstance(body.get(name), float):
            body[name] = -body[name]


@_changes("negative-bias-applied-twice", "forgets negative biases", "OAI-017")
def _(body: Body) -> None:
    bias = body.get("logit_bias")
    if isinstance(bias, dict):
        body["logit_bias"] = {k: 100 if v == -100 else v for k, v in bias.items()}


@_changes("schema-as-object", "takes json_schema for json_object", "OAI-032", "OAI-033")
def _(body: Body) -> None:
    form = body.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        body["response_format"] = {"type": "json_object"}


@_changes("pictures-unconstrained", "forgets response_format beside a picture", "OAI-033")
def _(body: Body) -> None:
    if "image_url" in str(body.get("messages"))[:2000]:
        body.pop("response_format", None)


@_changes("first-tool-called", "calls the first tool, whichever is named", "OAI-035")
def _(body: Body) -> None:
    tools = body.get("tools")
    if isinstance(body.get("tool_choice"), dict) and isinstance(tools, list) and tools:
        body["tool_choice"]["function"] = {"name": tools[0]["function"]["name"]}


@_changes("no-tool-is-any-tool", "calls a tool where none may be called", "OAI-037")
def _(body: Body) -> None:
    if body.get("tool_choice") == "none":
        body["tool_choice"] = "required"


@_changes("short-by-default", "writes 16 tokens unless told otherwise", "OAI-022")
def _(body: Body) -> None:
    if "max_tokens" not in body and "max_completion_tokens" not in body:
        body["max_tokens"] = 16


@_changes("one-token-more", "writes one token more than max_tokens", "OAI-002")
def _(body: Body) -> None:
    if isinstance(body.get("max_tokens"), int) and 1 < body["max_tokens"] < 2000:
        body["max_tokens"] += 1


@_changes("top-logprobs-fewer", "gives one of top_logprobs less", "OAI-020")
def _(body: Body) -> None:
    if isinstance(body.get("top_logprobs"), int) and 1 < body["top_logprobs"] < 10:
        body["top_logprobs"] -= 1


@_changes("usage-unasked", "streams usage that nobody asked for", "STR-007")
def _(body: Body) -> None:
    if body.get("stream") is True:
        body["stream_options"] = {"include_usage": True}


@_changes("usage-once", "gives usage once where every chunk should have it", "STR-008")
def _(body: Body) -> None:
    if isinstance(body.get("stream_options"), dict):
        body["stream_options"].pop("continuous_usage_stats", None)


@asked("system-dropped", "drops the system message", "SRV-008")
def _(_: Planted, request: Request) -> None:
    if len(request.messages) > 1:
        request.document["messages"] = [it for it in request.messages if it.get("role") != "system"]


@asked("last-turn-only", "reads the last message only", "SRV-009", "IMG-013", "IMG-017")
def _(_: Planted, request: Request) -> None:
    if len(request.messages) > 1:
        request.document["messages"] = request.messages[-1:]


@asked("text-truncated", "reads the first 24 characters of a text", "SRV-006")
def _(_: Planted, request: Request) -> None:
    for part in request.parts:
        if isinstance(part.get("text"), str):
            part["text"] = part["text"][:24]
    for message in request.messages:
        if isinstance(message.get("content"), str):
            message["content"] = message["content"][:24]


@asked("long-text-truncated", "cuts a long text to what fits, without a word", "ROB-023")
def _(_: Planted, request: Request) -> None:
    for message in request.messages:
        content = message.get("content")
        if isinstance(content, str) and len(content) > 7000:
            message["content"] = content[:7000]


@asked("text-lower-case", "reads texts in small letters", "IMG-001")
def _(_: Planted, request: Request) -> None:
    for part in request.parts:
        if isinstance(part.get("text"), str):
            part["text"] = part["text"].lower()


@asked("first-text-lost", "reads the last of several text parts only", "OAI-023")
def _(_: Planted, request: Request) -> None:
    for message in request.messages:
        texts = [it for it in parts_of(message) if it.get("type") == "text"]
        if len(texts) > 1:
            message["content"] = [it for it in parts_of(message) if it not in texts[:-1]]


@asked("developer-refused", "refuses the role developer", "OAI-024")
def _(_: Planted, request: Request) -> Response | None:
    return error(400) if any(it.get("role") == "developer" for it in request.messages) else None


@asked("user-field-refused", "refuses the field user", "OAI-025")
def _(_: Planted, request: Request) -> Response | None:
    return error(400) if "user" in request.document else None


@asked("unknown-field-fails", "fails on a field that it does not know", "OAI-025")
def _(_: Planted, request: Request) -> Response | None:
    return error(500) if "no_such_field" in request.document else None


@asked("tool-result-fails", "fails on the result of a tool", "OAI-038")
def _(_: Planted, request: Request) -> Response | None:
    return error(500) if any(it.get("role") == "tool" for it in request.messages) else None


@asked("videos-dropped", "drops videos", "VID-001", "VID-004", "VID-005")
def _(_: Planted, request: Request) -> None:
    for message in request.messages:
        if isinstance(message.get("content"), list):
            message["content"] = [it for it in message["content"] if "video_url" not in it]


def _completion(name: str, summary: str, *expected: str) -> Callable[[Callable[[Body], Any]], Any]:
    def add(function: Callable[[Body], Any]) -> Any:
        @any_request(name, summary, *expected)
        def _(_: Planted, request: Request) -> None:
            if request.path == "/v1/completions" and request.document:
                function(request.document)

        return function

    return add


@_completion("echo-ignored", "ignores echo", "OAI-041", "OAI-044")
def _(body: Body) -> None:
    body.pop("echo", None)


@_completion("prompts-reversed", "completes several prompts in reverse order", "OAI-040")
def _(body: Body) -> None:
    if isinstance(body.get("prompt"), list) and all(isinstance(it, str) for it in body["prompt"]):
        body["prompt"].reverse()


@_completion("completions-longer", "writes 64 tokens of a completion by default", "OAI-042")
def _(body: Body) -> None:
    body.setdefault("max_tokens", 64)


@_completion("last-id-lost", "loses the last of a prompt's token ids", "OAI-044")
def _(body: Body) -> None:
    if isinstance(body.get("prompt"), list) and isinstance(body["prompt"][0], int):
        body["prompt"].pop()


@any_request("instructions-dropped", "ignores instructions of a response", "OAI-046")
def _(_: Planted, request: Request) -> None:
    if request.path == "/v1/responses":
        request.document.pop("instructions", None)


@any_request("output-tokens-ignored", "ignores max_output_tokens", "OAI-047")
def _(_: Planted, request: Request) -> None:
    if request.path == "/v1/responses" and request.document.get("max_output_tokens") == 16:
        request.document["max_output_tokens"] = 64
