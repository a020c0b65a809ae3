"""Server-sent events, read from the bytes as they arrive, strictly.

``iter_lines`` of the usual clients drops the line ends that separate events and repairs broken
UTF-8; a suite that must see both reads the bytes itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pytest_qwenvl.protocol.findings import Finding, Kind, Severity, shorten


@dataclass(frozen=True)
class ServerEvent:
    """One event.

    Attributes:
        data: of its ``data:`` lines.
        arrival: of its last byte, in seconds since the request was sent.
        name: of its ``event:`` line; empty where it has none.
    """

    data: str
    arrival: float
    name: str = ""


@dataclass(frozen=True)
class EventStream:
    """The events of a body, and everything in its form that is not as it must be."""

    events: tuple[ServerEvent, ...]
    findings: tuple[Finding, ...]


def read_events(
    fragments: Iterable[bytes],
    content_type: str,
    *,
    named: bool = False,
    sent: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> EventStream:
    """Read an event stream to its end.

    Args:
        fragments: the body's bytes as they arrive, line ends included; they may be cut anywhere
            (``response.iter_content(chunk_size=None)`` of ``requests``).
        content_type: of the answer's header.
        named: whether events may have names (``event:`` lines), as those of ``/v1/responses`` do
            and those of completions do not.
        sent: when the request was sent, on ``clock``; the time of this call when None.
        clock: a monotonic clock in seconds.
    """
    start = clock() if sent is None else sent
    parser = _Parser(named)
    if content_type.partition(";")[0].strip().lower() != "text/event-stream":
        parser.object_to("header Content-Type", "text/event-stream", content_type)
    # All bytes are taken before any is parsed: parsing must not delay what the clock says.
    arrived: list[tuple[bytes, float]] = []
    try:
        for fragment in fragments:
            arrived.append((fragment, clock() - start))
    except OSError as problem:  # What requests raises when the connection breaks off.
        seen = f"{type(problem).__name__}: {problem}"
        parser.object_to("$", "a stream that ends by itself", seen)
    for fragment, arrival in arrived:
        parser.feed(fragment, arrival)
    rest = parser.rest()
    if rest:
        parser.object_to("$", "an empty line after the last event", shorten(rest))
    return EventStream(tuple(parser.events), tuple(parser.findings))


@dataclass
class _Parser:
    """Events from bytes that may be cut anywhere."""

    named: bool
    events: list[ServerEvent] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    pending: bytes = b""
    data: list[str] = field(default_factory=list)
    name: str = ""

    def object_to(
        self,
        path: str,
        expected: str,
        seen: str,
        severity: Severity = "error",
        kind: Kind = "meaning",
    ) -> None:
        self.findings.append(Finding(path, expected, seen, severity, kind, "transport"))

    def feed(self, fragment: bytes, arrival: float) -> None:
        """Take the next bytes; keeps every event that they complete."""
        *lines, self.pending = (self.pending + fragment).split(b"\n")
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if not line:
                if self.data:
                    self.events.append(ServerEvent("\n".join(self.data), arrival, self.name))
                self.data, self.name = [], ""
            elif self.named and line.startswith(b"event: "):
                self.name = line.removeprefix(b"event: ").decode("utf-8", "replace")
            elif not line.startswith(b":"):  # A comment keeps the connection alive.
                self._data_line(line)

    def _data_line(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            self.object_to("$", "lines that begin with 'data: '", shorten(line))
            return
        payload = line.removeprefix(b"data:")
        if not payload.startswith(b" "):
            self.object_to("$", "a blank after 'data:'", shorten(line), "warning")
        try:
            self.data.append(payload.removeprefix(b" ").decode("utf-8"))
        except UnicodeDecodeError as problem:
            self.object_to("$", "UTF-8", str(problem), kind="json")

    def rest(self) -> str:
        """What arrived after the last complete event."""
        return "\n".join([*self.data, self.pending.decode("utf-8", "replace")]).strip()
