"""Defects thought of after the requirements were written, by somebody who had not written them."""

from __future__ import annotations

import copy
import gzip
import json
import time
import unicodedata
from collections.abc import Iterator

from tests.defects.messages import Request, Response, error
from tests.defects.planting import (
    Body,
    Planted,
    answered,
    any_request,
    any_response,
    asked,
    defect,
    read_chunk,
    streamed,
    write_chunk,
)


@any_response("gzip-unasked", "compresses what nobody asked to be compressed", "ROB-019")
def _(_: Planted, request: Request, response: Response) -> Response:
    if response.body:
        response.body = gzip.compress(response.body)
        response.headers["content-encoding"] = "gzip"
    return response


@answered("cached-beyond-prompt", "counts more cached tokens than a prompt has", "OAI-009")
def _(_: Planted, request: Request, body: Body) -> None:
    body["usage"]["prompt_tokens_details"] = {"cached_tokens": body["usage"]["prompt_tokens"] + 1}


@answered("fingerprint-a-number", "tells a number as its fingerprint", "OAI-001")
def _(_: Planted, request: Request, body: Body) -> None:
    body["system_fingerprint"] = 32


@answered("top-token-repeated", "names the likeliest token for each of the top", "OAI-020")
def _(_: Planted, request: Request, body: Body) -> None:
    for choice in body["choices"]:
        for entry in (choice.get("logprobs") or {}).get("content") or []:
            top = entry["top_logprobs"]
            top[:] = [copy.deepcopy(top[0]) for _ in top] if top else top


@streamed("last-choice-unstreamed", "streams n - 1 of n choices", "STR-010")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    last = request.document.get("n", 1) - 1
    for event in events:
        body = read_chunk(event)
        if last and body and any(it.get("index") == last for it in body["choices"]):
            continue
        yield event


@asked("seed-zero-is-none", "takes the seed 0 for none", "OAI-013")
def _(_: Planted, request: Request) -> None:
    if request.document.get("seed") == 0:
        del request.document["seed"]


@asked("first-bias-only", "applies the first of several biases", "OAI-017")
def _(_: Planted, request: Request) -> None:
    bias = request.document.get("logit_bias")
    if isinstance(bias, dict) and len(bias) == 2:
        request.document["logit_bias"] = dict(list(bias.items())[:1])


@answered("one-call-id", "gives all tool calls one id", "OAI-035")
def _(_: Planted, request: Request, body: Body) -> None:
    for choice in body["choices"]:
        for call in choice["message"].get("tool_calls") or []:
            call["id"] = "call_1"


@asked("long-stops-ignored", "ignores stop strings of more than 8 characters", "STR-013")
def _(_: Planted, request: Request) -> None:
    stop = request.document.get("stop")
    if isinstance(stop, list):
        request.document["stop"] = [it for it in stop if len(str(it)) <= 8]


@answered(
    "models-created-in-ms",
    "lists when its model was created in milliseconds",
    "OAI-004",
    path="/v1/models",
)
def _(_: Planted, request: Request, body: Body) -> None:
    body["data"][0]["created"] *= 1000


@any_request("charset-refused", "refuses JSON whose type has a parameter", "ROB-003")
def _(_: Planted, request: Request) -> Response | None:
    parameter = ";" in request.headers.get("content-type", "")
    return error(415) if parameter and request.is_chat else None


@answered("pictures-free-when-cached", "charges nothing for a picture that it has seen", "CON-007")
def _(planted: Planted, request: Request, body: Body) -> None:
    for part in request.pictures:
        url, usage = part["image_url"]["url"], body["usage"]
        with planted.lock:
            known = planted.kept.setdefault(url, body["id"]) != body["id"]
        if known and usage["prompt_tokens"] > 30:
            usage["prompt_tokens"] -= 5
            usage["total_tokens"] -= 5


@answered("end-token-told", "writes the token that ended an answer behind it", "STR-002")
def _(_: Planted, request: Request, body: Body) -> None:
    for choice in body["choices"]:
        if choice["finish_reason"] == "stop" and choice["message"].get("content"):
            choice["message"]["content"] += "<|im_end|>"


@answered("long-answers-cut", "cuts answers after 60 characters, and says stop", "STR-002")
def _(_: Planted, request: Request, body: Body) -> None:
    for choice in body["choices"]:
        text = choice["message"].get("content") or ""
        if len(text) > 60:
            choice["message"]["content"], choice["finish_reason"] = text[:60], "stop"


@defect("ids-by-the-second", "makes ids of the time in seconds", "OAI-005")
class _IdsByTime(Planted):
    def after(self, request: Request, response: Response) -> Response:
        body = response.document
        if request.is_chat and response.status == 200 and isinstance(body, dict):
            body["id"] = f"chatcmpl-{int(time.time()):016x}"
            response.document = body
        return response


@asked("long-talks-cut", "reads the last four messages of a conversation", "IMG-013", "IMG-017")
def _(_: Planted, request: Request) -> None:
    messages = request.document.get("messages")
    if isinstance(messages, list) and len(messages) > 4:
        request.document["messages"] = messages[-4:]


@asked("text-normalised", "takes accents off letters", "OAI-048")
def _(_: Planted, request: Request) -> None:
    for message in request.messages:
        content = message.get("content")
        if isinstance(content, str):
            plain = unicodedata.normalize("NFKD", content)
            message["content"] = "".join(it for it in plain if not unicodedata.combining(it))


@answered("newline-in-front", "begins plain answers with a line end", "STR-002")
def _(_: Planted, request: Request, body: Body) -> None:
    for choice in body["choices"]:
        if choice["message"].get("content"):
            choice["message"]["content"] = "\n" + choice["message"]["content"]


@defect("every-15th-stalls", "lets every 15th request wait for longer than clients do", "ROB-026")
class _Stalls(Planted):
    def before(self, request: Request) -> Response | None:
        if request.is_chat:
            with self.lock:
                self.kept["count"] = self.kept.get("count", 0) + 1
                stalls = self.kept["count"] % 15 == 0
            if stalls:
                time.sleep(125.0)
        return None


@streamed("streams-short", "streams the first 25 characters of an answer", "STR-002", "STR-012")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    left = 25
    for event in events:
        body = read_chunk(event)
        for choice in body["choices"] if body else []:
            text = choice["delta"].get("content") or ""
            choice["delta"]["content"] = text[:left]
            left -= len(text[:left])
        yield write_chunk(body, event) if body else event


@streamed("streamed-prompt-free", "streams usage without the prompt's tokens", "STR-007")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    for event in events:
        body = read_chunk(event)
        if body and body.get("usage"):
            body["usage"] |= {
                "prompt_tokens": 0,
                "total_tokens": body["usage"]["completion_tokens"],
            }
        yield write_chunk(body, event) if body else event


@answered("usage-in-texts", "tells counts as texts", "OAI-009", "SRV-014", "IMG-001")
def _(_: Planted, request: Request, body: Body) -> None:
    usage = body["usage"]
    body["usage"] = {k: str(v) if isinstance(v, int) else v for k, v in usage.items()}


@answered("arguments-with-junk", "writes a comma behind a call's arguments", "OAI-035", "OAI-036")
def _(_: Planted, request: Request, body: Body) -> None:
    for choice in body["choices"]:
        for call in choice["message"].get("tool_calls") or []:
            call["function"]["arguments"] += ","


@answered("json-in-json", "answers JSON as a text of JSON", "OAI-032", "OAI-033")
def _(_: Planted, request: Request, body: Body) -> None:
    if request.document.get("response_format"):
        for choice in body["choices"]:
            choice["message"]["content"] = json.dumps(choice["message"]["content"])
