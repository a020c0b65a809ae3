"""Strict reading of a streamed answer: server-sent events, chunk by chunk, and the rules over all.

A client that concatenates whatever text arrives does not notice a stream that breaks off, reports
an error after status 200, or goes on after it has ended. This reader does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pytest_qwenvl.protocol.chat_schema import read_chat_chunk
from pytest_qwenvl.protocol.completion_schema import read_completion_chunk, unfinished
from pytest_qwenvl.protocol.findings import Deviation, Finding, Subject, shorten
from pytest_qwenvl.protocol.sse import ServerEvent, read_events

if TYPE_CHECKING:
    from openai.types import CompletionUsage

DONE = "[DONE]"


@dataclass(frozen=True)
class StreamReading:
    """A streamed answer, whole.

    Attributes:
        texts: the text of each choice, by index.
        finish_reasons: of each choice, by index; None for a choice that never finished.
        chunks: how many chunks there were, the usage chunk included.
        arrivals: of each chunk, in seconds since the request was sent.
        first_text: seconds until the first chunk with text; None when there was none.
        usage: of the usage chunk.
        id, model: of the first chunk; empty when there was none.
        bodies: the chunks as decoded JSON.
        findings: everything that is not as it must be.
    """

    texts: tuple[str, ...]
    finish_reasons: tuple[str | None, ...]
    chunks: int
    arrivals: tuple[float, ...]
    first_text: float | None
    usage: CompletionUsage | None
    id: str
    model: str
    bodies: tuple[dict[str, Any], ...]
    findings: tuple[Finding, ...]

    @property
    def text(self) -> str:
        """The text of the first choice; empty when there was none."""
        return self.texts[0] if self.texts else ""

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended; None when it did not."""
        return self.finish_reasons[0] if self.finish_reasons else None


def read_stream(
    lines: Iterable[bytes],
    content_type: str,
    *,
    usage_asked: bool = False,
    usage_in_every_chunk: bool = False,
    choices: int = 1,
    completions: bool = False,
    model: str | None = None,
    deviations: Sequence[Deviation] = (),
    now: float | None = None,
    sent: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> StreamReading:
    """Read a streamed completion and hold it against every rule of the protocol.

    Args:
        lines: the body's bytes as they arrive, line ends included; they may be cut anywhere
            (``response.iter_content(chunk_size=None)`` of ``requests``, not ``iter_lines``, which
            drops the line ends that separate events).
        content_type: of the answer's header.
        usage_asked: ``stream_options.include_usage`` of the request.
        usage_in_every_chunk: ``stream_options.continuous_usage_stats``, a vLLM extension.
        choices: ``n`` of the request.
        completions: whether the stream is one of ``/v1/completions``, not of a chat.
        model: the name that was asked for; not compared when None.
        deviations: departures that are no findings.
        now: seconds since the epoch, for the plausibility of ``created``; the clock when None.
        sent: when the request was sent, on ``clock``; the time of this call when None.
        clock: a monotonic clock in seconds.
    """
    stream = read_events(lines, content_type, sent=sent, clock=clock)
    rules = _Rules(usage_asked, usage_in_every_chunk, choices)
    read = partial(
        _completion_chunk if completions else _chat_chunk,
        deviations=deviations,
        model=model,
        now=now,
    )
    for event in stream.events:
        _read_event(event, rules, read)
    rules.end()
    indices = range(max(choices, 1 + max(rules.texts, default=-1)))
    return StreamReading(
        texts=tuple("".join(rules.texts.get(index, [])) for index in indices),
        finish_reasons=tuple(rules.finished.get(index) for index in indices),
        chunks=len(rules.arrivals),
        arrivals=tuple(rules.arrivals),
        first_text=rules.first_text,
        usage=rules.usage,
        id=rules.first.id if rules.first else "",
        model=rules.first.model if rules.first else "",
        bodies=tuple(rules.bodies),
        findings=(*stream.findings, *rules.findings),
    )


@dataclass(frozen=True)
class _Piece:
    """What one chunk adds to one choice."""

    index: int
    text: str
    role: str | None
    calls: bool
    finish_reason: str | None


@dataclass(frozen=True)
class _Chunk:
    """What the rules ask of a chunk, of a chat or of a completion."""

    id: str
    created: int
    model: str
    usage: CompletionUsage | None
    pieces: list[_Piece]


_ReadChunk = Callable[[str], tuple[_Chunk | None, list[Finding]]]


def _chat_chunk(data: str, **reading: Any) -> tuple[_Chunk | None, list[Finding]]:
    chunk, findings = read_chat_chunk(data, **reading)
    if chunk is None:
        return None, findings
    pieces = [
        _Piece(
            each.index,
            each.delta.content or "",
            each.delta.role,
            bool(each.delta.tool_calls),
            each.finish_reason,
        )
        for each in chunk.choices
    ]
    return _Chunk(chunk.id, chunk.created, chunk.model, chunk.usage, pieces), findings


def _completion_chunk(data: str, **reading: Any) -> tuple[_Chunk | None, list[Finding]]:
    chunk, findings = read_completion_chunk(data, **reading)
    if chunk is None:
        return None, findings
    open_ones = unfinished(json.loads(data))
    pieces = [
        # A completion has no roles: the rule of the first chunk's is met.
        _Piece(
            each.index,
            each.text,
            "assistant",
            False,
            None if position in open_ones else each.finish_reason,
        )
        for position, each in enumerate(chunk.choices)
    ]
    return _Chunk(chunk.id, chunk.created, chunk.model, chunk.usage, pieces), findings


def _read_event(event: ServerEvent, rules: _Rules, read: _ReadChunk) -> None:
    if event.data == DONE:
        rules.done()
        return
    where = f"event {rules.events}"
    error = _error_in(event.data)
    if error is not None:
        rules.events += 1
        seen = f"an error inside the stream: {shorten(error, 300)}"
        rules.object_to(where, "a chunk", seen, "error")
        return
    chunk, findings = read(event.data)
    rules.findings += [replace(each, path=f"{where}: {each.path}") for each in findings]
    rules.event(chunk, event.arrival)
    if chunk is not None:
        rules.bodies.append(json.loads(event.data))


def _error_in(data: str) -> object | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None  # The chunk's own reader reports it.
    return value.get("error") if isinstance(value, dict) else None


class _Rules:
    """The rules over a whole stream, fed one chunk at a time."""

    def __init__(self, usage_asked: bool, usage_in_every_chunk: bool, choices: int) -> None:
        self.usage_asked = usage_asked
        self.usage_in_every_chunk = usage_in_every_chunk
        self.choices = choices
        self.findings: list[Finding] = []
        self.events = 0
        self.arrivals: list[float] = []
        self.first: _Chunk | None = None
        self.first_text: float | None = None
        self.texts: dict[int, list[str]] = {}
        self.calls: set[int] = set()
        self.finished: dict[int, str] = {}
        self.usage: CompletionUsage | None = None
        self.ended = False
        self.bodies: list[dict[str, Any]] = []

    def object_to(self, path: str, expected: str, seen: str, about: Subject) -> None:
        self.findings.append(Finding(path, expected, seen, about=about))

    def done(self) -> None:
        if self.ended:
            self.object_to("$", f"{DONE} once", "twice", "end")
        self.ended = True

    def event(self, chunk: _Chunk | None, arrival: float) -> None:
        where = f"event {self.events}"
        self.events += 1
        self.arrivals.append(arrival)
        if self.ended:
            self.object_to(where, f"nothing after {DONE}", "a chunk", "end")
        if chunk is None:
            return
        if self.first is None:
            self.first = chunk
        identity: tuple[Literal["id", "created", "model"], ...] = ("id", "created", "model")
        for name in identity:
            of_all, of_this = getattr(self.first, name), getattr(chunk, name)
            if of_all != of_this:
                expected = f"{of_all!r} in all chunks"
                self.object_to(f"{where}: {name}", expected, shorten(of_this), name)
        self._usage(chunk, where)
        for position, choice in enumerate(chunk.pieces):
            self._choice(choice, f"{where}: choices[{position}]", arrival)

    def _usage(self, chunk: _Chunk, where: str) -> None:
        if self.usage is not None:
            self.object_to(where, "nothing after the usage chunk", "a chunk", "usage")
        if chunk.usage is None:
            if self.usage_in_every_chunk:
                self.object_to(f"{where}: usage", "usage in every chunk", "none", "usage")
        elif not self.usage_asked:
            self.object_to(f"{where}: usage", "no usage, it was not asked for", "usage", "usage")
        elif not chunk.pieces:
            self.usage = chunk.usage
        elif not self.usage_in_every_chunk:
            expected = "usage in a chunk without choices"
            self.object_to(f"{where}: usage", expected, "with choices", "usage")

    def _choice(self, piece: _Piece, where: str, arrival: float) -> None:
        index = piece.index
        if not 0 <= index < self.choices:
            self.object_to(f"{where}.index", f"0 to {self.choices - 1}", str(index), "choices")
        if index in self.finished:
            expected = "nothing after the finish_reason of its choice"
            self.object_to(where, expected, "a chunk", "finish")
        if index not in self.texts:
            self.texts[index] = []
            if piece.role != "assistant":
                expected = "'assistant' in the first chunk"
                self.object_to(f"{where}.delta.role", expected, shorten(piece.role), "role")
        elif piece.role not in (None, "assistant"):
            role = shorten(piece.role)
            self.object_to(f"{where}.delta.role", "'assistant' or none", role, "role")
        if piece.calls:
            self.calls.add(index)
        if piece.text:
            self.texts[index].append(piece.text)
            if self.first_text is None:
                self.first_text = arrival
        if piece.finish_reason is not None:
            self.finished.setdefault(index, piece.finish_reason)

    def end(self) -> None:
        """Object to what never came."""
        if not self.ended:
            self.object_to("$", f"{DONE} at the end", "the end of the stream without it", "end")
        for index in range(self.choices):
            if index not in self.texts:
                self.object_to(f"choice {index}", "chunks", "none", "choices")
            elif index not in self.finished:
                self.object_to(f"choice {index}", "a finish_reason", "none", "finish")
            elif not self.texts[index] and index not in self.calls:
                self.object_to(f"choice {index}", "a text that is not empty", "none", "content")
        if self.usage_asked and self.usage is None:
            self.object_to("usage", "a usage chunk, it was asked for", "none", "usage")
