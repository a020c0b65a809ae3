"""What was asked of a server lately, and what it said: kept for the report of a failure.

Every request of this process goes into one journal, bounded in number and memory; nothing is
written anywhere unless a test fails.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests

    from pytest_qwenvl.engines.endpoint import Endpoint

MOST_EXCHANGES = 64
LARGEST_BODY = 16 << 20
"""Bytes: a longer request body is not kept, only its length."""
MOST_BYTES = 48 << 20
"""Bytes of request bodies kept in all; the oldest exchanges go first."""
LARGEST_ANSWER = 256 << 10
"""Bytes kept of an answer."""


@dataclass(eq=False)
class Exchange:
    """One request with what came back.

    Attributes:
        number: counts the requests of this process.
        body: as it went over the wire; None when it was too long to keep, or no bytes.
        body_bytes: its length; None when nobody knows.
        status: None while nothing has come back.
        answer: the body as far as somebody read it, at most :data:`LARGEST_ANSWER` bytes.
        error: what the connection's failure said.
        started: seconds since the epoch; ``seconds`` until the answer's headers, or the failure.
        log_from: size of the engine's log when the request was sent (bytes).
    """

    number: int
    endpoint: Endpoint
    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    body_bytes: int | None
    started: float
    log_from: int = 0
    status: int | None = None
    content_type: str = ""
    error: str = ""
    seconds: float | None = None
    _heard: bytearray = field(default_factory=bytearray)
    _read: Callable[[], bytes] | None = None

    @property
    def answer(self) -> bytes:
        """The body of the answer, as far as it was read."""
        return self._read()[:LARGEST_ANSWER] if self._read is not None else bytes(self._heard)

    def hear(self, data: bytes) -> None:
        """Keep a piece of the answer, as far as there is room."""
        room = LARGEST_ANSWER - len(self._heard)
        if room > 0:
            self._heard += data[:room]

    def answered(self, response: requests.Response, *, stream: bool) -> None:
        """Take what ``requests`` received; of a stream, what its reader will read."""
        self.seconds = time.time() - self.started
        self.status = response.status_code
        self.content_type = response.headers.get("Content-Type", "")
        if stream:
            _listen(response, self)
        else:
            self.hear(response.content)

    def failed(self, error: Exception) -> None:
        """Note that no answer came."""
        self.seconds = time.time() - self.started
        self.error = f"{type(error).__name__}: {error}"


class Journal:
    """The latest exchanges of this process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Exchange] = deque()
        self._bytes = 0
        self._numbers = itertools.count(1)
        self._last = 0

    @property
    def last(self) -> int:
        """The number of the latest exchange; 0 before the first."""
        return self._last

    def open(
        self, endpoint: Endpoint, method: str, url: str, headers: dict[str, str], body: object
    ) -> Exchange:
        """Begin an exchange: the request is about to be sent."""
        data = body.encode() if isinstance(body, str) else b"" if body is None else body
        known = len(data) if isinstance(data, bytes) else None
        kept = data if isinstance(data, bytes) and len(data) <= LARGEST_BODY else None
        with self._lock:
            self._last = next(self._numbers)
            exchange = Exchange(
                number=self._last,
                endpoint=endpoint,
                method=method,
                url=url,
                headers=headers,
                body=kept,
                body_bytes=known,
                started=time.time(),
                log_from=endpoint.log_offset(),
            )
            self._kept.append(exchange)
            self._bytes += len(kept or b"")
            while len(self._kept) > MOST_EXCHANGES or self._bytes > MOST_BYTES:
                self._bytes -= len(self._kept.popleft().body or b"")
        return exchange

    def since(self, number: int) -> list[Exchange]:
        """The exchanges after ``number`` that are still kept, oldest first."""
        with self._lock:
            return [exchange for exchange in self._kept if exchange.number > number]


def _listen(response: requests.Response, exchange: Exchange) -> None:
    read = response.iter_content

    def iter_content(*arguments: Any, **named: Any) -> Iterator[Any]:
        for piece in read(*arguments, **named):
            exchange.hear(piece if isinstance(piece, bytes) else str(piece).encode())
            yield piece

    response.iter_content = iter_content  # type: ignore[method-assign]


def client_hooks(journal: Journal, endpoint: Endpoint) -> dict[str, list[Callable[..., None]]]:
    """Event hooks that keep what openai's client (httpx, or its successor) sends and receives."""

    def sent(request: Any) -> None:
        # A streamed body (a file upload) is not at hand.
        body = getattr(request, "_content", None)
        request.extensions["qwenvl"] = journal.open(
            endpoint, request.method, str(request.url), dict(request.headers), body
        )

    def received(response: Any) -> None:
        exchange: Exchange = response.request.extensions["qwenvl"]
        exchange.seconds = time.time() - exchange.started
        exchange.status = response.status_code
        exchange.content_type = response.headers.get("Content-Type", "")
        # It is read after this; httpx keeps it unless it is streamed.
        exchange._read = lambda: getattr(response, "_content", b"")

    return {"request": [sent], "response": [received]}
