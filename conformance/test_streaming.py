"""Event streams: every rule of their form, each held by a test of its own."""

from __future__ import annotations

import pytest

from conformance.asking import chat, chat_body, text_of, tokens_of
from conformance.exchanges import COUNTING, OPEN_QUESTIONS, asking
from conformance.streams import USAGE, check_stream, stream, stream_all
from fixtures.bank import generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.findings import Deviation, about

pytestmark = pytest.mark.streaming

SHORT = 8  # tokens


@pytest.mark.requirement("QVL-STR-001")
@pytest.mark.parametrize("usage", [True, False], ids=["usage", "no-usage"])
def test_event_stream(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence, usage: bool
) -> None:
    """Server-sent events, one [DONE] at the end, with and without the usage chunk."""
    (item,) = generate("describe", 1)
    body = chat_body(server, item.openai_messages(), **(USAGE if usage else {}))
    check_stream(stream(server, body, deviations, evidence), "transport", "end")


@pytest.mark.smoke
@pytest.mark.requirement("QVL-STR-002")
def test_equals_plain_answer(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """The pieces of a stream are the plain answer."""
    items = generate("describe", 1) + generate("which_image", 1) + generate("chat", 1)
    bodies = [chat_body(server, item.openai_messages()) for item in items]
    bodies.append(asking(server, COUNTING, max_tokens=SHORT))
    for body, reading in zip(bodies, stream_all(server, bodies, deviations, evidence), strict=True):
        plain = chat(server, **{key: value for key, value in body.items() if key != "model"})
        evidence.append("plain", plain)
        assert reading.text == text_of(plain), (
            f"expected the plain answer {text_of(plain)!r}, seen {reading.text!r}"
        )


@pytest.mark.requirement("QVL-STR-003")
def test_chunk_schema(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Chunks fit the schema: of a picture, with usage, with log probabilities."""
    (picture,) = generate("colour", 1)
    bodies = [
        chat_body(server, picture.openai_messages()),
        asking(server, COUNTING, max_tokens=SHORT, logprobs=True, top_logprobs=2, **USAGE),
    ]
    for reading in stream_all(server, bodies, deviations, evidence):
        check_stream(reading, "form", "content")


@pytest.mark.requirement("QVL-STR-004")
def test_one_identity(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """One id, one created, one model in all chunks; another id in another stream."""
    bodies = [asking(server, COUNTING, max_tokens=SHORT, **USAGE)] * 2
    readings = stream_all(server, bodies, deviations, evidence)
    for reading in readings:
        check_stream(reading, "id", "created", "model")
        assert reading.id.startswith("chatcmpl-"), f"id: expected chatcmpl-…, seen {reading.id!r}"
    assert readings[0].id != readings[1].id, f"two streams: one id, {readings[0].id!r}"


@pytest.mark.requirement("QVL-STR-005")
def test_role_first(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """The first chunk of each choice brings the role."""
    body = asking(server, COUNTING, max_tokens=SHORT, temperature=1.0, n=2)
    reading = stream(server, body, deviations, evidence)
    check_stream(reading, "role")
    seen = {choice.get("index") for chunk in reading.bodies for choice in chunk["choices"]}
    assert seen, "expected chunks with choices, seen none"


@pytest.mark.requirement("QVL-STR-006")
def test_one_finish_reason(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """One finish_reason, the right one, and nothing of the choice after it."""
    bodies = [
        asking(server, COUNTING, max_tokens=SHORT),
        asking(server, "Say hello."),
        asking(server, COUNTING, max_tokens=SHORT, **USAGE),
    ]
    readings = stream_all(server, bodies, deviations, evidence)
    for reading, reason in zip(readings, ("length", "stop", "length"), strict=True):
        check_stream(reading, "finish")
        assert reading.finish_reasons == (reason,), (
            f"expected finish_reason {reason!r}, seen {reading.finish_reasons}"
        )


@pytest.mark.requirement("QVL-STR-007")
def test_usage_chunk(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Usage comes when it is asked for, alone and at the end, and only then."""
    body = asking(server, COUNTING, max_tokens=SHORT)
    bodies = [
        body | USAGE,
        body,
        body | {"stream_options": {"include_usage": False}},
    ]
    asked, *silent = stream_all(server, bodies, deviations, evidence)
    for reading in (asked, *silent):
        check_stream(reading, "usage")
    assert asked.usage is not None, "expected a usage chunk, seen none"
    plain = chat(server, **{key: value for key, value in body.items() if key != "model"})
    evidence.record(plain=plain)
    for count in ("prompt_tokens", "completion_tokens"):
        expected, seen = tokens_of(plain, count), getattr(asked.usage, count)
        assert seen == expected, f"usage.{count}: expected the plain {expected}, seen {seen}"
    assert asked.bodies[-1]["choices"] == [], (
        f"expected the usage chunk last, seen {str(asked.bodies[-1])[:300]}"
    )


@pytest.mark.requirement("QVL-STR-008")
def test_continuous_usage(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Usage in every chunk counts the tokens so far."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = asking(server, COUNTING, max_tokens=SHORT, stream_options=options)
    reading = stream(server, body, deviations, evidence)
    check_stream(reading, "usage")
    counts = [
        int((chunk.get("usage") or {}).get("completion_tokens", -1)) for chunk in reading.bodies
    ]
    assert counts == sorted(counts) and 0 <= counts[0] < counts[-1] == SHORT, (
        f"completion_tokens: expected a count that grows to {SHORT}, seen {counts}"
    )


@pytest.mark.requirement("QVL-STR-015")
def test_no_error_inside(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Streams of good requests bring no error event and come to their end."""
    (picture,) = generate("which_image", 1)
    bodies = [asking(server, question, max_tokens=SHORT) for question in OPEN_QUESTIONS[:3]]
    bodies.append(chat_body(server, picture.openai_messages()))
    for reading in stream_all(server, bodies, deviations, evidence):
        check_stream(reading, "error")
        broken_off = reading.finish_reason is None and about(reading.findings, "end", "transport")
        assert not broken_off, f"expected the end of {reading.text!r}, seen {broken_off[0]}"


@pytest.mark.requirement("QVL-STR-020")
def test_streams_do_not_mix(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Streams served together keep their ids and their texts."""
    questions = ("Say hello.", COUNTING, "Count from 1 to 5.", "What is your name?") * 2
    bodies = [asking(server, question, max_tokens=24) for question in questions]
    alone = {
        question: stream(server, body, deviations, evidence).text
        for question, body in zip(questions[:4], bodies[:4], strict=True)
    }
    readings = stream_all(server, bodies, deviations, evidence)
    assert len({reading.id for reading in readings}) == len(readings), (
        f"expected an id of its own for each, seen {[reading.id for reading in readings]}"
    )
    for question, reading in zip(questions, readings, strict=True):
        assert reading.text == alone[question], (
            f"{question!r} among others: expected {alone[question]!r}, seen {reading.text!r}"
        )
    assert all(alone.values()), f"expected a text for each question, seen {alone}"
