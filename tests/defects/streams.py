"""Defects of event streams."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.defects.messages import Request, Response
from tests.defects.planting import (
    Body,
    Planted,
    chunked,
    defect,
    read_chunk,
    streamed,
    write_chunk,
)

DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error": {"message": "planted", "type": "InternalServerError", "code": 500}}\n\n'


@streamed("no-done", "ends streams without [DONE]", "STR-001")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    return (event for event in events if event != DONE)


@streamed("done-twice", "ends streams with two [DONE]", "STR-001")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    for event in events:
        yield event
        if event == DONE:
            yield event


@streamed("data-after-done", "sends a chunk after [DONE]", "STR-001")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    last = b""
    for event in events:
        yield event
        if event == DONE:
            yield last
        last = event


@streamed("one-line-end", "ends events with one line end", "STR-001")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    return (event[:-1] for event in events)


@streamed("utf-8-broken", "sends bytes that are no UTF-8", "STR-001")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    for number, event in enumerate(events):
        yield event.replace(b'"content":"', b'"content":"\xff') if number == 2 else event


@streamed("bare-json", "sends JSON lines instead of events", "STR-001")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    return (event.removeprefix(b"data: ") for event in events)


@defect("stream-as-json", "announces streams as application/json", "STR-001")
class _StreamAsJson(Planted):
    def opens_stream(self, request: Request, response: Response) -> Response:
        response.headers["content-type"] = "application/json"
        return response


@streamed("all-at-once", "sends a stream when the answer is whole", "STR-009")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    yield from list(events)


@streamed("first-then-rest", "sends the first chunks, and then all others together", "STR-009")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    for _number in range(3):
        yield next(events)
    yield b"".join(events)


@streamed("whole-text-in-a-chunk", "sends the text of a choice in one chunk", "STR-009")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    held: Body | None = None
    for event in events:
        body = read_chunk(event)
        choices = body["choices"] if body else []
        single = body and len(choices) == 1 and not choices[0].get("finish_reason")
        if (
            single
            and body
            and choices[0]["delta"].get("content")
            and request.document.get("n", 1) == 1
        ):
            if held is None:
                held = body
            else:
                held["choices"][0]["delta"]["content"] += choices[0]["delta"]["content"]
            continue
        if held is not None and (event == DONE or choices):
            yield write_chunk(held)
            held = None
        yield event


@streamed("cut-off", "breaks streams off after four chunks", "STR-001", "STR-015")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    for _number in range(4):
        yield next(events)
    raise ConnectionAbortedError


@streamed("late-streams-cut", "breaks off streams that last longer than a while", "ROB-020")
def _(planted: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    with planted.lock:
        planted.kept["streams"] = planted.kept.get("streams", 0) + 1
        cut = planted.kept["streams"] % 4 == 0
    for number, event in enumerate(events):
        if cut and number == 4:
            raise ConnectionAbortedError
        yield event


@chunked("chunk-lost", "loses the second piece of a text", "STR-002")
def _(_: Planted, number: int, body: Body) -> list[Body] | None:
    return [] if number == 2 else None


@chunked("chunk-doubled", "sends the second piece of a text twice", "STR-002")
def _(_: Planted, number: int, body: Body) -> list[Body] | None:
    return [body, body] if number == 2 else None


@streamed("last-piece-lost", "loses the last piece of a text", "STR-002")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    for event in events:
        body = read_chunk(event)
        for choice in body["choices"] if body else []:
            if choice.get("finish_reason"):
                choice["delta"]["content"] = ""
        # vLLM's last piece of text comes with the reason that the answer ended.
        yield write_chunk(body, event) if body else event


@streamed("pieces-swapped", "sends the second and third piece in the wrong order", "STR-002")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    start = [event for _, event in zip(range(4), events, strict=False)]
    yield from [*start[:2], *start[3:], *start[2:3]] if len(start) == 4 else start
    yield from events


@chunked("chunk-extra-field", "adds an unknown field to chunks", "STR-003")
def _(_: Planted, number: int, body: Body) -> None:
    body["mood"] = "good"


@chunked("chunk-object-otherwise", "calls chunks chat.completion", "STR-003")
def _(_: Planted, number: int, body: Body) -> None:
    body["object"] = "chat.completion"


@chunked("id-changes", "gives the third chunk another id", "STR-004")
def _(_: Planted, number: int, body: Body) -> None:
    if number == 2:
        body["id"] = "chatcmpl-0000000000000000"


@chunked("created-changes", "counts created up from chunk to chunk", "STR-004")
def _(_: Planted, number: int, body: Body) -> None:
    body["created"] += number


@chunked("chunks-name-other-model", "names another model in chunks", "STR-004")
def _(_: Planted, number: int, body: Body) -> None:
    body["model"] = "Qwen/Qwen-VL"


@chunked("one-id-for-all-streams", "gives all streams one id", "STR-004", "STR-020")
def _(_: Planted, number: int, body: Body) -> None:
    body["id"] = "chatcmpl-0123456789abcdef"


@chunked("no-role", "streams without ever naming a role", "STR-005")
def _(_: Planted, number: int, body: Body) -> None:
    for choice in body["choices"]:
        choice["delta"].pop("role", None)


@chunked("role-changes", "changes the role in the middle", "STR-005")
def _(_: Planted, number: int, body: Body) -> None:
    if number == 3:
        for choice in body["choices"]:
            choice["delta"]["role"] = "user"


@chunked("stream-never-finishes", "streams no finish_reason", "STR-006")
def _(_: Planted, number: int, body: Body) -> None:
    for choice in body["choices"]:
        choice["finish_reason"] = None


@chunked("finishes-twice", "streams finish_reason twice", "STR-006")
def _(_: Planted, number: int, body: Body) -> list[Body] | None:
    return [body, body] if any(it.get("finish_reason") for it in body["choices"]) else None


@chunked("stream-always-stops", "streams finish_reason stop for a cut answer", "STR-006")
def _(_: Planted, number: int, body: Body) -> None:
    for choice in body["choices"]:
        if choice.get("finish_reason"):
            choice["finish_reason"] = "stop"


@chunked("usage-chunk-lost", "loses the usage chunk that was asked for", "STR-007")
def _(_: Planted, number: int, body: Body) -> list[Body] | None:
    return [] if body.get("usage") and not body["choices"] else None


@chunked("streamed-usage-off", "counts a token too many in a stream's usage", "STR-007")
def _(_: Planted, number: int, body: Body) -> None:
    if body.get("usage"):
        body["usage"]["completion_tokens"] += 1
        body["usage"]["total_tokens"] += 1


@streamed("continuous-usage-constant", "counts all tokens in every chunk", "STR-008")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    options = request.document.get("stream_options") or {}
    for event in events:
        body = read_chunk(event)
        if body and body.get("usage") and options.get("continuous_usage_stats"):
            body["usage"] |= {
                "completion_tokens": 8,
                "total_tokens": body["usage"]["prompt_tokens"] + 8,
            }
        yield write_chunk(body, event) if body else event


@chunked("streamed-indices-zero", "streams all choices under the index 0", "STR-010")
def _(_: Planted, number: int, body: Body) -> None:
    for choice in body["choices"]:
        choice["index"] = 0


@chunked("streamed-logprobs-dropped", "streams no log probabilities", "STR-011")
def _(_: Planted, number: int, body: Body) -> None:
    for choice in body["choices"]:
        choice["logprobs"] = None


@chunked("characters-broken", "breaks characters of several bytes", "STR-012")
def _(_: Planted, number: int, body: Body) -> None:
    for choice in body["choices"]:
        text = choice["delta"].get("content") or ""
        choice["delta"]["content"] = "".join("\ufffd" if it > "\u00ff" else it for it in text)


@chunked("stop-begins", "streams the first character of a stop string", "STR-013")
def _(_: Planted, number: int, body: Body) -> None:
    for choice in body["choices"]:
        if isinstance(choice.get("stop_reason"), str):
            choice["delta"]["content"] = (choice["delta"].get("content") or "") + choice[
                "stop_reason"
            ][0]


@chunked("error-inside", "sends an error in the middle of a good stream", "STR-015")
def _(_: Planted, number: int, body: Body) -> list[Body | bytes] | None:
    return [body, ERROR] if number == 2 else None


@defect("runs-on", "writes on for clients that left", "STR-016")
class _RunsOn(Planted):
    keeps_running = True


@chunked(
    "completion-chunk-lost",
    "loses a piece of a streamed completion",
    "STR-017",
    path="/v1/completions",
)
def _(_: Planted, number: int, body: Body) -> list[Body] | None:
    return [] if number == 2 else None


@chunked("streamed-calls-shifted", "numbers streamed tool calls from 1", "STR-018")
def _(_: Planted, number: int, body: Body) -> None:
    for choice in body["choices"]:
        for call in choice["delta"].get("tool_calls") or []:
            call["index"] += 1


@streamed("never-completed", "loses the last event of a response", "STR-019", path="/v1/responses")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    return (event for event in events if b"response.completed" not in event)


@streamed(
    "events-numbered-from-one",
    "numbers the events of a response from 1",
    "STR-019",
    path="/v1/responses",
)
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    for event in events:
        body = read_chunk(event)
        if body:
            body["sequence_number"] += 1
        yield write_chunk(body, event) if body else event


@streamed("streams-mixed", "sends a piece of one stream into another", "STR-020")
def _(planted: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    for number, event in enumerate(events):
        body = read_chunk(event)
        if number == 3 and body and body["choices"]:
            delta = body["choices"][0]["delta"]
            with planted.lock:
                mine, delta["content"] = delta.get("content"), planted.kept.get("text", "")
                planted.kept["text"] = mine or ""
        yield write_chunk(body, event) if body else event


@streamed("slow-pieces-held", "holds each stream back for two seconds", "STR-009")
def _(_: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
    held = list(events)
    time.sleep(2.0)
    yield from held
