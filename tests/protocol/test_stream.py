"""Rules over a whole stream, on real recordings and on planted corruptions of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.protocol.findings import load_deviations
from pytest_qwenvl.protocol.stream import StreamReading, read_stream

BODIES = Path(__file__).parent / "bodies"
NOW = 1_795_365_600.0
KNOWN = load_deviations(Path(__file__).parents[2] / "conformance" / "deviations.toml", "0.32.0+cpu")
PLAIN = (BODIES / "stream.sse").read_bytes()
USAGE = (BODIES / "stream-usage.sse").read_bytes()


def read(
    *fragments: bytes, content_type: str = "text/event-stream", **kwargs: Any
) -> StreamReading:
    arguments = {"deviations": KNOWN, "model": "tiny", "now": NOW, **kwargs}
    return read_stream(fragments, content_type, **arguments)


def events(body: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in body.split(b"\n\n") if event]


def edit_event(body: bytes, index: int, edit: Callable[[Any], object]) -> bytes:
    parts = events(body)
    data = json.loads(parts[index].removeprefix(b"data: "))
    edit(data)
    parts[index] = b"data: " + json.dumps(data).encode() + b"\n\n"
    return b"".join(parts)


def test_real_streams_are_clean() -> None:
    plain = read(PLAIN, content_type="text/event-stream; charset=utf-8")
    assert plain.findings == ()
    assert (plain.text, plain.finish_reason, plain.chunks) == ("\x19" * 5, "length", 6)
    assert plain.usage is None
    usage = read(USAGE, usage_asked=True)
    assert usage.findings == ()
    assert usage.usage is not None
    assert (usage.usage.prompt_tokens, usage.usage.completion_tokens) == (22, 5)
    assert (usage.chunks, usage.id[:9], usage.model) == (7, "chatcmpl-", "tiny")
    every = (BODIES / "stream-continuous-usage.sse").read_bytes()
    assert read(every, usage_asked=True, usage_in_every_chunk=True).findings == ()


def test_two_choices() -> None:
    body = (BODIES / "stream-n2.sse").read_bytes()
    both = read(body, usage_asked=True, choices=2)
    assert both.texts == ("", "fulag")
    assert both.finish_reasons == ("length", "length")
    assert [each.path for each in both.findings] == ["choice 0"]  # its tokens decode to nothing
    assert "event 1: choices[0].index" in [
        each.path for each in read(body, usage_asked=True).findings
    ]


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_bytes_may_be_cut_anywhere(size: int, line_end: bytes) -> None:
    body = USAGE.replace(b"\n", line_end)
    fragments = [body[start : start + size] for start in range(0, len(body), size)]
    assert read(*fragments, usage_asked=True).findings == ()
    assert read(*fragments, usage_asked=True).text == "\x19" * 5


def test_line_separators_inside_a_text_are_no_line_ends() -> None:
    body = edit_event(
        PLAIN, 1, lambda data: data["choices"][0]["delta"].update(content="a\u2028b\x85c")
    ).replace(b"\\u2028", "\u2028".encode()).replace(b"\\u0085", "\x85".encode())  # fmt: skip
    assert "\u2028".encode() in body
    reading = read(body)
    assert reading.findings == ()
    assert reading.text.startswith("a\u2028b\x85c")


def test_comments_are_no_events() -> None:
    parts = events(PLAIN)
    assert read(b": ping\n\n", *parts[:3], b": ping\n\n", *parts[3:]).findings == ()


def test_arrivals_are_taken_from_the_clock() -> None:
    def clock() -> Iterator[float]:
        yield from (100.0, 100.5, 101.25, 102.0, 103.0, 104.0, 105.0, 106.0)

    times = clock()
    reading = read(*events(PLAIN), clock=lambda: next(times))
    assert reading.arrivals == (0.5, 1.25, 2.0, 3.0, 4.0, 5.0)
    assert reading.first_text == 1.25  # the first chunk carries the role only
    times = clock()
    assert read(*events(PLAIN), clock=lambda: next(times), sent=99.0).arrivals[0] == 1.0


CHUNK_EDITS: dict[str, tuple[int, Callable[[Any], object], str]] = {
    "another id": (2, lambda data: data.update(id="x"), "event 2: id"),
    "another created": (2, lambda data: data.update(created=int(NOW)), "event 2: created"),
    "another model": (2, lambda data: data.update(model="x"), "event 2: model"),
    "another object": (2, lambda data: data.update(object="chat.completion"), "event 2: object"),
    "no role": (0, lambda data: data["choices"][0]["delta"].pop("role"),
                "event 0: choices[0].delta.role"),
    "user role": (0, lambda data: data["choices"][0]["delta"].update(role="user"),
                  "event 0: choices[0].delta.role"),
    "role changes": (3, lambda data: data["choices"][0]["delta"].update(role="tool"),
                     "event 3: choices[0].delta.role"),
    "early finish": (2, lambda data: data["choices"][0].update(finish_reason="stop"), "event 3"),
    "unknown finish": (5, lambda data: data["choices"][0].update(finish_reason="eos"),
                       "event 5: choices[0].finish_reason"),
    "no finish": (5, lambda data: data["choices"][0].update(finish_reason=None), "choice 0"),
    "index beyond": (3, lambda data: data["choices"][0].update(index=1),
                     "event 3: choices[0].index"),
    "no delta": (3, lambda data: data["choices"][0].pop("delta"), "event 3: choices[0].delta"),
    "number for text": (3, lambda data: data["choices"][0]["delta"].update(content=1),
                        "event 3: choices[0].delta.content"),
    "usage not asked for": (5, lambda data: data.update(
        usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}), "event 5: usage"),
    "neither choice nor usage": (3, lambda data: data.update(choices=[]), "event 3: choices"),
    "an error inside": (3, lambda data: data.update(error={"message": "out of memory"}),
                        "event 3"),
    "unknown field": (3, lambda data: data.update(surprise=1), "event 3: surprise"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHUNK_EDITS)
def test_planted_corruption_of_a_chunk_is_found(name: str) -> None:
    index, edit, path = CHUNK_EDITS[name]
    findings = read(edit_event(PLAIN, index, edit)).findings
    assert any(each.path.startswith(path) for each in findings), findings


def test_every_text_empty() -> None:
    body = PLAIN
    for index in range(1, 6):
        body = edit_event(body, index, lambda data: data["choices"][0]["delta"].update(content=""))
    reading = read(body)
    assert [each.path for each in reading.findings] == ["choice 0"]
    assert reading.first_text is None


def test_error_after_status_200_is_found_with_its_text() -> None:
    parts = events(PLAIN)
    error = b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n'
    findings = read(*parts[:3], error, parts[-1]).findings
    assert "EngineCore died" in str(findings[0])
    assert findings[0].severity == "error"
    assert "choice 0: expected a finish_reason" in str(findings[-1])


BODY_EDITS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "nothing at all": (lambda parts: [], "[DONE] at the end"),
    "only the end": (lambda parts: parts[-1:], "chunks"),
    "no end": (lambda parts: parts[:-1], "[DONE] at the end"),
    "end twice": (lambda parts: [*parts, parts[-1]], "[DONE] once"),
    "a chunk after the end": (lambda parts: [*parts, parts[2]], "nothing after [DONE]"),
    "last chunk lost": (lambda parts: [*parts[:-2], parts[-1]], "a finish_reason"),
    "broken off": (lambda parts: [*parts[:2], parts[2][:50]], "an empty line after"),
    "finish twice": (lambda parts: [*parts[:-1], parts[-2], parts[-1]],
                     "nothing after the finish_reason"),
    "no blank line between": (lambda parts: [parts[0].removesuffix(b"\n"), *parts[1:]],
                              "JSON in UTF-8"),
    "no data": (lambda parts: [parts[0].removeprefix(b"data: "), *parts[1:]],
                "lines that begin with 'data: '"),
    "another field": (lambda parts: [b"event: chunk\n" + parts[0], *parts[1:]],
                      "lines that begin with 'data: '"),
    "no blank after data": (lambda parts: [parts[0].replace(b"data: ", b"data:"), *parts[1:]],
                            "a blank after 'data:'"),
    "no UTF-8": (lambda parts: [*parts[:1], parts[1].replace(b"tiny", b"\xff"), *parts[2:]],
                 "UTF-8"),
    "an HTML page": (lambda parts: [b"<html>Bad gateway</html>\n"], "lines that begin"),
    "a completion": (lambda parts: [b"data: ", (BODIES / "chat-image.json").read_bytes(),
                                    b"\n\n", parts[-1]], "'chat.completion.chunk'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODY_EDITS)
def test_planted_corruption_of_the_stream_is_found(name: str) -> None:
    edit, expected = BODY_EDITS[name]
    findings = read(*edit(events(PLAIN))).findings
    assert any(expected in each.expected for each in findings), findings


@pytest.mark.parametrize("content_type", ["application/json", "", "text/event-streams"])
def test_content_type(content_type: str) -> None:
    findings = read(PLAIN, content_type=content_type).findings
    assert [each.path for each in findings] == ["header Content-Type"]


def test_usage_must_come_when_asked_for_and_only_then() -> None:
    assert [each.path for each in read(PLAIN, usage_asked=True).findings] == ["usage"]
    assert [each.path for each in read(USAGE).findings] == ["event 6: usage"]
    parts = events(USAGE)
    late = read(*parts[:-2], parts[-2], parts[-2], parts[-1], usage_asked=True).findings
    assert [each.expected for each in late] == ["nothing after the usage chunk"]
    wrong = edit_event(USAGE, 6, lambda data: data["usage"].update(total_tokens=1))
    assert [each.path for each in read(wrong, usage_asked=True).findings] == [
        "event 6: usage.total_tokens"
    ]
    every = (BODIES / "stream-continuous-usage.sse").read_bytes()
    assert len(read(every, usage_asked=True).findings) == 6
    assert len(read(USAGE, usage_asked=True, usage_in_every_chunk=True).findings) == 6


def test_another_model_than_asked_for() -> None:
    findings = read(PLAIN, model="big").findings
    assert len(findings) == 6
    assert {each.path.split(": ")[1] for each in findings} == {"model"}


def test_a_connection_that_breaks_off_is_a_finding_and_keeps_what_came() -> None:
    def breaking() -> Iterator[bytes]:
        yield from events(PLAIN)[:3]
        raise ConnectionResetError("reset by peer")

    reading = read_stream(breaking(), "text/event-stream", deviations=KNOWN, now=NOW)
    assert reading.text == "\x19" * 2
    assert "ConnectionResetError: reset by peer" in str(reading.findings[0])


def test_arrivals_do_not_wait_for_the_reader() -> None:
    fragments = iter(events(PLAIN))
    taken: list[int] = []

    def arriving() -> Iterator[bytes]:
        for number, fragment in enumerate(fragments):
            taken.append(number)
            yield fragment

    # The clock counts fragments: the n-th chunk arrives when n fragments were taken.
    reading = read_stream(
        arriving(), "text/event-stream", now=NOW, sent=0.0, clock=lambda: float(len(taken))
    )
    assert reading.arrivals == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
