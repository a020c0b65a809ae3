"""Event streams: well formed, and the same answer as without streaming."""

from __future__ import annotations

import time
from typing import Any

import pytest

from conformance.asking import chat, chat_body, choice_of, text_of, tokens_of
from fixtures.bank import generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.findings import Deviation
from pytest_qwenvl.protocol.stream import StreamReading, read_stream

pytestmark = pytest.mark.streaming


def _stream(
    server: Endpoint,
    messages: list[dict[str, Any]],
    deviations: tuple[Deviation, ...],
    usage: bool,
) -> StreamReading:
    options = {"stream_options": {"include_usage": True}} if usage else {}
    body = chat_body(server, messages, stream=True, **options)
    sent = time.monotonic()
    with server.request("POST", "/v1/chat/completions", json=body, stream=True) as response:
        assert response.status_code == 200, (
            f"expected 200, seen {response.status_code}: {response.text[:300]}"
        )
        return read_stream(
            response.iter_content(chunk_size=None),
            response.headers.get("content-type", ""),
            usage_asked=usage,
            model=server.model,
            deviations=deviations,
            sent=sent,
        )


def _kept(reading: StreamReading) -> dict[str, Any]:
    return {
        "text": reading.text,
        "chunks": reading.chunks,
        "arrivals": [round(it, 4) for it in reading.arrivals],
        "finish_reasons": reading.finish_reasons,
        "usage": reading.usage.model_dump() if reading.usage else None,
        "findings": [str(it) for it in reading.findings],
    }


@pytest.mark.requirement("QVL-STR-001")
@pytest.mark.parametrize("usage", [True, False], ids=["usage", "no-usage"])
def test_event_stream(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence, usage: bool
) -> None:
    """Every rule of an event stream, with and without the usage chunk."""
    (item,) = generate("describe", 1)
    reading = _stream(server, item.openai_messages(), deviations, usage)
    evidence.record(stream=_kept(reading))
    assert not reading.findings, "in the stream:\n" + "\n".join(
        f"  {it}" for it in reading.findings[:10]
    )
    assert reading.text.strip(), "expected a streamed text, seen none"


@pytest.mark.smoke
@pytest.mark.requirement("QVL-STR-002")
def test_equals_plain_answer(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """The pieces of a stream are the plain answer."""
    items = generate("describe", 2) + generate("which_image", 1) + generate("chat", 1)
    for item in items:
        plain = chat(server, item.openai_messages())
        reading = _stream(server, item.openai_messages(), deviations, usage=True)
        evidence.append("streams", {"item": item.id, "plain": plain, "streamed": _kept(reading)})
        assert reading.text == text_of(plain), (
            f"{item.id}: expected the plain answer {text_of(plain)!r}, seen {reading.text!r}"
        )
        reason = choice_of(plain).get("finish_reason")
        assert reading.finish_reasons == (reason,), (
            f"{item.id}: expected finish_reason {reason!r}, seen {reading.finish_reasons}"
        )
        assert reading.usage is not None, f"{item.id}: expected a usage chunk, seen none"
        for count in ("prompt_tokens", "completion_tokens"):
            expected, seen = tokens_of(plain, count), getattr(reading.usage, count)
            assert seen == expected, f"{item.id}: {count}: expected {expected}, seen {seen}"
        written = tokens_of(plain, "completion_tokens")
        # Role, finish_reason and usage may each have a chunk of their own.
        assert written < 8 or reading.chunks > 4, (
            f"{item.id}: expected {written} tokens in several pieces, seen {reading.chunks} chunks"
        )
