"""Server-sent events with names, and the responses that are told in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pytest_qwenvl.protocol.responses_schema import ResponseStream, read_response_events
from pytest_qwenvl.protocol.sse import EventStream, read_events

OUTPUT = [{"type": "message", "content": [{"type": "output_text", "text": "Hello!"}]}]
EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"output": []}},
    {"type": "response.output_text.delta", "delta": "Hello"},
    {"type": "response.output_text.delta", "delta": "!"},
    {"type": "response.completed", "response": {"output": OUTPUT}},
]


def body(events: list[dict[str, Any]]) -> bytes:
    numbered = [{"sequence_number": number, **event} for number, event in enumerate(events)]
    return b"".join(
        b"event: " + event["type"].encode() + b"\ndata: " + json.dumps(event).encode() + b"\n\n"
        for event in numbered
    )


def named(content: bytes) -> EventStream:
    return read_events([content], "text/event-stream; charset=utf-8", named=True)


def read(events: list[dict[str, Any]]) -> ResponseStream:
    return read_response_events(named(body(events)))


def test_names_belong_to_their_events() -> None:
    stream = named(b"event: a\ndata: 1\n\ndata: 2\n\n")
    assert [(event.name, event.data) for event in stream.events] == [("a", "1"), ("", "2")]
    assert stream.findings == ()


def test_names_are_findings_where_there_must_be_none() -> None:
    stream = read_events([b"event: a\ndata: 1\n\n"], "text/event-stream")
    assert [each.about for each in stream.findings] == ["transport"]
    assert [event.data for event in stream.events] == ["1"]


def test_response_in_events() -> None:
    reading = read(EVENTS)
    assert reading.findings == ()
    assert (reading.text, reading.deltas) == ("Hello!", 2)
    assert reading.response == {"output": OUTPUT}


CORRUPTIONS: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "no beginning": lambda events: events.pop(0),
    "no end": lambda events: events.pop(),
    "two ends": lambda events: events.append(EVENTS[-1]),
    "a piece after the end": lambda events: events.append(EVENTS[1]),
    "a piece lost": lambda events: events.pop(2),
    "numbered from 1": lambda events: [
        event.update(sequence_number=number + 1) for number, event in enumerate(events)
    ],
    "nothing": lambda events: events.clear(),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_of_a_response_stream_is_found(name: str) -> None:
    events = [dict(event) for event in EVENTS]
    CORRUPTIONS[name](events)
    assert read(events).findings


def test_another_type_than_the_name() -> None:
    content = body(EVENTS).replace(b"event: response.created", b"event: response.made")
    assert [each.path for each in read_response_events(named(content)).findings] == [
        "event 0: type"
    ]


def test_data_that_is_no_json() -> None:
    content = body(EVENTS).replace(b'{"sequence_number": 1', b'{"sequence_number" 1')
    assert "event 1: $" in [each.path for each in read_response_events(named(content)).findings]
