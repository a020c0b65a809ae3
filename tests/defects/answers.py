"""Defects of answers that come in one piece: ids, usage, log probabilities, finish reasons."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from typing import Any

from tests.defects.messages import Request, Response
from tests.defects.planting import Body, Planted, answered, any_response


def _answer(name: str, summary: str, *expected: str, **where: str) -> Any:
    """A defect of the body alone, changed in place."""

    def add(function: Callable[[Body], Any]) -> Any:
        @answered(name, summary, *expected, **where)
        def _(_: Planted, request: Request, body: Body) -> None:
            function(body)

        return function

    return add


def _each(name: str, summary: str, *expected: str, **where: str) -> Any:
    """A defect of each choice."""

    def add(function: Callable[[Body], Any]) -> Any:
        @_answer(name, summary, *expected, **where)
        def _(body: Body) -> None:
            for choice in body["choices"]:
                function(choice)

        return function

    return add


def _tokens(name: str, summary: str, *expected: str) -> Any:
    """A defect of the entries of logprobs.content: a function of their list."""

    def add(function: Callable[[list[Body]], Any]) -> Any:
        @_each(name, summary, *expected)
        def _(choice: Body) -> None:
            if choice.get("logprobs"):
                function(choice["logprobs"]["content"])

        return function

    return add


@_answer("one-id", "gives all answers one id", "OAI-005")
def _(body: Body) -> None:
    body["id"] = "chatcmpl-0123456789abcdef"


@_answer("no-id", "leaves out id", "SRV-004", "OAI-001", "OAI-005")
def _(body: Body) -> None:
    del body["id"]


@_answer("created-in-ms", "tells created in milliseconds", "OAI-006")
def _(body: Body) -> None:
    body["created"] *= 1000


@answered("created-frozen", "tells the time of its first answer", "OAI-006")
def _(planted: Planted, request: Request, body: Body) -> None:
    body["created"] = planted.kept.setdefault("created", body["created"])


@_answer("created-as-text", "tells created as a text", "OAI-001", "OAI-006")
def _(body: Body) -> None:
    body["created"] = str(body["created"])


@_answer("other-model-named", "names another model", "OAI-007")
def _(body: Body) -> None:
    body["model"] = "Qwen/Qwen-VL"


@_answer("extra-field", "adds a field that nobody knows", "OAI-001")
def _(body: Body) -> None:
    body["mood"] = "good"


@_each("extra-field-inside", "adds an unknown field to messages", "OAI-001")
def _(choice: Body) -> None:
    choice["message"]["mood"] = "good"


@_answer("object-otherwise", "calls an answer text_completion", "OAI-001")
def _(body: Body) -> None:
    body["object"] = "text_completion"


@_each("role-otherwise", "answers in the role of a user", "OAI-001")
def _(choice: Body) -> None:
    choice["message"]["role"] = "user"


@_each("no-refusal-field", "leaves out message.refusal", "OAI-001")
def _(choice: Body) -> None:
    choice["message"].pop("refusal", None)


@_each("content-null", "answers null to what was not short", "SRV-006", "CON-002")
def _(choice: Body) -> None:
    if len(choice["message"]["content"] or "") > 30:
        choice["message"]["content"] = None


@_each("content-trimmed", "loses the last character of answers", "STR-002", "OAI-021")
def _(choice: Body) -> None:
    choice["message"]["content"] = (choice["message"]["content"] or "")[:-1]


@_each("content-escaped", "escapes answers as HTML", "OAI-032")
def _(choice: Body) -> None:
    text = choice["message"]["content"] or ""
    choice["message"]["content"] = text.replace('"', "&quot;")


@answered("pictures-demanded", "answers nothing else where there is no picture", "SRV-007")
def _(_: Planted, request: Request, body: Body) -> None:
    if not request.pictures:
        for choice in body["choices"]:
            choice["message"]["content"] = "Please send a picture."


@_answer("total-off", "counts one token too many in total_tokens", "OAI-009")
def _(body: Body) -> None:
    body["usage"]["total_tokens"] += 1


@_answer(
    "completion-tokens-off",
    "counts one token too many in the answer",
    "OAI-002",
    "OAI-019",
    "SRV-014",
)
def _(body: Body) -> None:
    body["usage"]["completion_tokens"] += 1
    body["usage"]["total_tokens"] += 1


@_answer("prompt-tokens-off", "counts one token too many in the prompt", "IMG-001", "OAI-048")
def _(body: Body) -> None:
    body["usage"]["prompt_tokens"] += 1
    body["usage"]["total_tokens"] += 1


@_answer("one-choice-counted", "counts the tokens of one of n choices", "OAI-009")
def _(body: Body) -> None:
    usage = body["usage"]
    usage["completion_tokens"] //= len(body["choices"])
    usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]


@_answer("usage-null", "tells no usage", "SRV-004", "OAI-009")
def _(body: Body) -> None:
    body["usage"] = None


@answered("prompt-tokens-cached", "does not count a prompt that it has seen before", "OAI-009")
def _(planted: Planted, request: Request, body: Body) -> None:
    key, usage = str(request.document.get("messages"))[:200], body["usage"]
    if planted.kept.setdefault(key, body["id"]) != body["id"]:
        usage["prompt_tokens"] = 1
        usage["total_tokens"] = 1 + usage["completion_tokens"]


@_each("always-length", "says finish_reason length", "SRV-004", "OAI-010")
def _(choice: Body) -> None:
    choice["finish_reason"] = "length"


@_each("always-stop", "says finish_reason stop", "OAI-002")
def _(choice: Body) -> None:
    choice["finish_reason"] = "stop"


@_each("no-finish-reason", "says no finish_reason", "SRV-004", "OAI-002", "OAI-010")
def _(choice: Body) -> None:
    choice["finish_reason"] = None


@_each("finish-reason-otherwise", "says finish_reason eos", "OAI-010")
def _(choice: Body) -> None:
    if choice["finish_reason"] == "stop":
        choice["finish_reason"] = "eos"


@_each("stop-leaked", "leaves the stop string in the answer", "OAI-011")
def _(choice: Body) -> None:
    if isinstance(choice.get("stop_reason"), str):
        choice["message"]["content"] += choice["stop_reason"]


@_each("stop-reason-null", "does not say which stop string was met", "OAI-011")
def _(choice: Body) -> None:
    if "stop_reason" in choice:
        choice["stop_reason"] = None


@_each("index-zero", "gives all choices the index 0", "OAI-012")
def _(choice: Body) -> None:
    choice["index"] = 0


@_answer("one-of-n", "gives one choice of n", "OAI-012")
def _(body: Body) -> None:
    body["choices"] = body["choices"][:1]


@_answer("choices-copied", "gives one choice n times", "OAI-012")
def _(body: Body) -> None:
    for choice in body["choices"]:
        choice["message"] = body["choices"][0]["message"]


@_tokens("last-logprob-lost", "loses the log probability of the last token", "OAI-019")
def _(entries: list[Body]) -> None:
    entries.pop()


@_each("logprobs-unasked", "gives log probabilities that nobody asked for", "OAI-019")
def _(choice: Body) -> None:
    choice["logprobs"] = choice.get("logprobs") or {"content": []}


@_tokens("logprobs-positive", "gives log probabilities without their sign", "OAI-020")
def _(entries: list[Body]) -> None:
    for entry in entries:
        entry["logprob"] = abs(entry["logprob"])


@_tokens("probabilities-for-logs", "gives probabilities instead of their logarithms", "OAI-020")
def _(entries: list[Body]) -> None:
    for entry in entries:
        for each in (entry, *entry["top_logprobs"]):
            each["logprob"] = 2.718281828 ** each["logprob"]


@_tokens("top-reversed", "names the least likely of the top first", "OAI-020")
def _(entries: list[Body]) -> None:
    for entry in entries:
        entry["top_logprobs"].reverse()


@_tokens("logprobs-shifted", "gives each token the name of the next one", "OAI-021")
def _(entries: list[Body]) -> None:
    for entry, other in itertools.pairwise(entries):
        entry["token"] = other["token"]


@_tokens("bytes-wrong", "gives bytes that are not the token's", "OAI-021")
def _(entries: list[Body]) -> None:
    for entry in entries:
        entry["bytes"] = [1]


@_tokens("greedy-denied", "says that the chosen token was not the likeliest", "OAI-014")
def _(entries: list[Body]) -> None:
    for entry in entries[3:]:
        if len(entry["top_logprobs"]) > 1:
            entry["logprob"] = entry["top_logprobs"][0]["logprob"] - 1.0


@_each("json-fenced", "fences JSON as code", "OAI-031", "OAI-032", "OAI-033")
def _(choice: Body) -> None:
    text = choice["message"]["content"] or ""
    if text.lstrip().startswith("{"):
        choice["message"]["content"] = f"```json\n{text}\n```"


@_each("boxes-unlisted", "loses the list that boxes stand in", "GRD-003")
def _(choice: Body) -> None:
    text = choice["message"]["content"] or ""
    choice["message"]["content"] = text.replace('"bbox_2d": [', '"bbox_2d": ')


@_each("calls-say-stop", "says finish_reason stop with tool calls", "OAI-036")
def _(choice: Body) -> None:
    if choice["finish_reason"] == "tool_calls":
        choice["finish_reason"] = "stop"


@_each("arguments-as-object", "gives a call's arguments as an object", "OAI-035", "OAI-036")
def _(choice: Body) -> None:
    for call in choice["message"].get("tool_calls") or []:
        call["function"]["arguments"] = _object(call["function"]["arguments"])


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {}


COMPLETIONS, RESPONSES = {"path": "/v1/completions"}, {"path": "/v1/responses"}


@_answer("completion-extra-field", "adds an unknown field to completions", "OAI-039", **COMPLETIONS)
def _(body: Body) -> None:
    body["mood"] = "good"


@_each("offsets-zero", "gives all tokens of a completion the offset 0", "OAI-043", **COMPLETIONS)
def _(choice: Body) -> None:
    if choice.get("logprobs"):
        choice["logprobs"]["text_offset"] = [0] * len(choice["logprobs"]["text_offset"])


@_answer("completion-indices-swapped", "numbers completions backwards", "OAI-040", **COMPLETIONS)
def _(body: Body) -> None:
    for choice in body["choices"]:
        choice["index"] = len(body["choices"]) - 1 - choice["index"]


@_answer("response-extra-field", "adds an unknown field to responses", "OAI-045", **RESPONSES)
def _(body: Body) -> None:
    body["mood"] = "good"


@_answer("always-completed", "calls a cut response completed", "OAI-047", **RESPONSES)
def _(body: Body) -> None:
    body["status"], body["incomplete_details"] = "completed", None


@_answer(
    "tokenize-one-more", "counts a token more than a chat is charged", "OAI-048", path="/tokenize"
)
def _(body: Body) -> None:
    body["tokens"].insert(0, 1)
    body["count"] += 1


@_answer("tokenize-count-off", "miscounts the tokens that it lists", "OAI-048", path="/tokenize")
def _(body: Body) -> None:
    body["count"] += 1


@_answer("detokenize-strips", "strips blanks from detokenized text", "OAI-049", path="/detokenize")
def _(body: Body) -> None:
    body["prompt"] = body["prompt"].strip()


def _headers(name: str, summary: str, *expected: str) -> Any:
    def add(function: Callable[[Response], Any]) -> Any:
        @any_response(name, summary, *expected)
        def _(_: Planted, request: Request, response: Response) -> Response:
            function(response)
            return response

        return function

    return add


@_headers("json-as-text", "announces JSON as text/plain", "OAI-008")
def _(response: Response) -> None:
    response.headers["content-type"] = "text/plain"


@_headers("errors-as-text", "announces errors as text/plain", "OAI-008", "IMG-007", "STR-014")
def _(response: Response) -> None:
    if response.status >= 400:
        response.headers["content-type"] = "text/plain; charset=utf-8"


@_headers("json-in-latin-1", "writes JSON in Latin-1, and says so", "OAI-008")
def _(response: Response) -> None:
    if response.headers.get("content-type", "").startswith("application/json"):
        response.headers["content-type"] = "application/json; charset=iso-8859-1"
        response.body = response.body.decode().encode("latin-1", errors="replace")


@_headers("digits-lost", "loses the digits of answers", "SRV-006", "CON-009")
def _(response: Response) -> None:
    response.body = re.sub(
        rb'("content":"[^"]*")', lambda m: re.sub(rb"\d", b"", m[1]), response.body
    )
