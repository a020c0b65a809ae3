"""Requests that no HTTP library would send: bytes over a connection, as they are."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from pytest_qwenvl.engines.endpoint import Endpoint

_PIECE = 65536
_MOST = 4_000_000  # bytes kept of an answer


@dataclass(frozen=True)
class RawAnswer:
    """What came back on a connection.

    Attributes:
        data: everything received.
        closed: whether the server ended the connection; False when time ran out first.
        seconds: from the first byte sent to the end.
    """

    data: bytes
    closed: bool
    seconds: float

    @property
    def status(self) -> int:
        """The status of the last response in ``data``, interim ones left out; 0 for none."""
        found = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})\b", self.data)]
        return found[-1] if found and found[-1] >= 200 else 0

    @property
    def body(self) -> bytes:
        """What follows the last response's header, up to the end."""
        start = self.data.rfind(b"HTTP/1.")
        return self.data[start:].partition(b"\r\n\r\n")[2] if start >= 0 else b""


@contextlib.contextmanager
def connection(server: Endpoint, timeout: float) -> Iterator[socket.socket]:
    """An open connection to ``server``, over TLS where its address says so.

    Raises:
        OSError: it cannot be reached.
    """
    url = urlsplit(server.base_url)
    host = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    with contextlib.ExitStack() as held:
        plain = held.enter_context(socket.create_connection((host, port), timeout=timeout))
        if url.scheme == "https":
            context = ssl.create_default_context()
            yield held.enter_context(context.wrap_socket(plain, server_hostname=host))
        else:
            yield plain


def header(server: Endpoint, method: str, path: str, *lines: str) -> bytes:
    """A request's header with the server's host and key, ended by an empty line."""
    url = urlsplit(server.base_url)
    sent = [f"{method} {request_target(server, path)} HTTP/1.1", f"Host: {url.netloc}", *lines]
    if server.api_key:
        sent.append(f"Authorization: Bearer {server.api_key}")
    return "\r\n".join([*sent, "", ""]).encode()


def request_target(server: Endpoint, path: str) -> str:
    """``path`` below the server's own, as a request line has it."""
    return urlsplit(server.base_url).path.rstrip("/") + path


def post(server: Endpoint, path: str, body: bytes, *lines: str) -> bytes:
    """A whole, good POST of JSON, after which the connection may be closed."""
    return (
        header(
            server,
            "POST",
            path,
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *lines,
        )
        + body
    )


def exchange(
    server: Endpoint, *pieces: bytes, timeout: float, pause: float = 0.0, end: bool = False
) -> RawAnswer:
    """Send bytes on a new connection and read until the server closes it or time runs out.

    Args:
        pieces: sent one after the other, ``pause`` seconds apart.
        timeout: seconds for everything.
        end: whether to end our direction (half-close) after the last piece.

    Raises:
        OSError: the server cannot be reached at all.
    """
    began = time.monotonic()
    received = b""
    closed = False
    with connection(server, timeout) as its:
        # A server that refuses closes early, perhaps before it has read all.
        with contextlib.suppress(ConnectionError):
            for number, piece in enumerate(pieces):
                if number and pause:
                    time.sleep(pause)
                its.sendall(piece)
            if end:
                its.shutdown(socket.SHUT_WR)
        try:
            while len(received) < _MOST:
                its.settimeout(max(0.01, began + timeout - time.monotonic()))
                piece = its.recv(_PIECE)
                if not piece:
                    closed = True
                    break
                received += piece
        except TimeoutError:
            pass
        except ConnectionError:
            closed = True
    return RawAnswer(received, closed, time.monotonic() - began)
