"""Strict reading of the answers of ``/v1/responses``, whole and as a stream of named events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.protocol.body import read_json, validate
from pytest_qwenvl.protocol.findings import Deviation, Finding, shorten, undocumented
from pytest_qwenvl.protocol.meaning import created_findings
from pytest_qwenvl.protocol.sse import EventStream

if TYPE_CHECKING:
    from openai.types.responses import Response

_ENDS = ("response.completed", "response.incomplete")


def read_response(
    body: bytes | str,
    *,
    deviations: Sequence[Deviation] = (),
    model: str | None = None,
    now: float | None = None,
) -> tuple[Response | None, list[Finding]]:
    """Read the body of an answer that was not streamed.

    Args:
        body: as it came over the wire.
        deviations: departures that are no findings.
        model: the name that was asked for; not compared when None.
        now: seconds since the epoch, for the plausibility of ``created_at``; the clock when None.

    Returns:
        The response, or None when its form is broken, and everything that is not as it must be.
    """
    from openai.types.responses import Response

    data, findings = read_json(body)
    if data is None:
        return None, findings
    response, more = validate(_with_newer_fields(data), Response)
    findings += more
    if response is not None:
        findings += created_findings(int(response.created_at), now, "created_at")
        if not response.id.startswith("resp_"):
            findings.append(Finding("id", "an identifier that begins with resp_", response.id))
        if model is not None and response.model != model:
            findings.append(Finding("model", repr(model), shorten(response.model), about="model"))
        usage = response.usage
        if usage is None:
            findings.append(Finding("usage", "token counts", "none", about="usage"))
        elif usage.input_tokens + usage.output_tokens != usage.total_tokens:
            expected = f"{usage.input_tokens} + {usage.output_tokens}"
            seen = str(usage.total_tokens)
            findings.append(Finding("usage.total_tokens", expected, seen, about="usage"))
    return response, undocumented(findings, "response", deviations)


def _with_newer_fields(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` with the count that OpenAI added after most servers were written."""
    usage = data.get("usage")
    if not isinstance(usage, dict) or not isinstance(usage.get("input_tokens_details"), dict):
        return data
    details = {"cache_write_tokens": 0, **usage["input_tokens_details"]}
    return {**data, "usage": {**usage, "input_tokens_details": details}}


@dataclass(frozen=True)
class ResponseStream:
    """A streamed response.

    Attributes:
        text: the pieces of its text, put together.
        deltas: how many pieces there were.
        response: the one in the last event, decoded; None when it never ended.
        findings: everything that is not as it must be.
    """

    text: str
    deltas: int
    response: dict[str, Any] | None
    findings: tuple[Finding, ...]


def read_response_events(stream: EventStream) -> ResponseStream:
    """Hold the events of a streamed response against the rules of their protocol.

    Each event is JSON that repeats its name as ``type`` and counts itself in
    ``sequence_number`` from 0; the first is ``response.created``, the last
    ``response.completed`` (or ``response.incomplete``), whose response has the text that the
    ``response.output_text.delta`` events brought.
    """
    findings = list(stream.findings)
    events = []
    for position, event in enumerate(stream.events):
        where = f"event {position}"
        data, more = read_json(event.data)
        findings += [Finding(f"{where}: {it.path}", it.expected, it.seen) for it in more]
        if data is None:
            continue
        events.append(data)
        if data.get("type") != event.name:
            findings.append(
                Finding(f"{where}: type", f"its name {event.name!r}", shorten(data.get("type")))
            )
        if data.get("sequence_number") != position:
            seen = shorten(data.get("sequence_number"))
            findings.append(Finding(f"{where}: sequence_number", str(position), seen))
    types = [str(data.get("type")) for data in events]
    if types[:1] != ["response.created"]:
        findings.append(Finding("event 0", "response.created first", shorten(types[:1])))
    ends = [position for position, name in enumerate(types) if name in _ENDS]
    if ends != [len(types) - 1]:
        findings.append(
            Finding("$", f"one of {', '.join(_ENDS)}, once and last", shorten(types[-3:]))
        )
    last = events[-1].get("response") if ends == [len(types) - 1] and events else None
    pieces = [
        str(data.get("delta"))
        for data in events
        if data.get("type") == "response.output_text.delta"
    ]
    response = last if isinstance(last, dict) else None
    text = "".join(pieces)
    if response is not None and output_text(response) != text:
        expected = f"the text of the pieces, {shorten(text)}"
        findings.append(
            Finding("response.output", expected, shorten(output_text(response)), about="content")
        )
    return ResponseStream(text, len(pieces), response, tuple(findings))


def output_text(response: dict[str, Any]) -> str:
    """The text of a decoded response's messages; empty where there is none."""
    return "".join(
        str(part.get("text"))
        for item in response.get("output") or ()
        if isinstance(item, dict) and item.get("type") == "message"
        for part in item.get("content") or ()
        if isinstance(part, dict) and part.get("type") == "output_text"
    )
