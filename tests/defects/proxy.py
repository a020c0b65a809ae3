"""A proxy on 127.0.0.1 that carries requests to an engine, and lets one defect spoil them.

What is not a plain request of HTTP/1.1 with a length is carried as the bytes it is, so that an
engine's own ways with broken messages show through it. Clients that leave are noticed, and their
requests are dropped, as they would be without the proxy.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import select
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.defects.messages import Request, Response
from tests.defects.planting import Planted

_PIECE = 65536
_LARGEST_HEADER = 32_768
_HEADER = re.compile(
    rb"([A-Z]+) (/[!-~]*) HTTP/1\.1\r\n((?:[!#-'*+.^-z|~0-9A-Z-]+:[ -~\t]*\r\n)*)\r\n"
)
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class Gone(Exception):
    """The client left before it was answered."""


class Proxy:
    """Listens on a port of its own; one thread a connection.

    Args:
        upstream: the engine's address, ``http://127.0.0.1:PORT``.
        planted: the defect; an instance of :class:`Planted` itself spoils nothing.
    """

    def __init__(self, upstream: str, planted: Planted) -> None:
        url = urlsplit(upstream)
        self._upstream = (str(url.hostname), int(url.port or 80))
        self.planted = planted
        planted.upstream = upstream
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._ending = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def stop(self) -> None:
        """Accept no more connections; those that are open end with their clients."""
        self._ending = True
        with contextlib.suppress(OSError):
            socket.create_connection(self._listening.getsockname(), timeout=1).close()
        self._thread.join()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            if self._ending:
                client.close()
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, contextlib.suppress(OSError, Gone, http.client.HTTPException):
            if not self.planted.accepts():
                return
            received = b""
            while (received := self._one(client, received)) is not None:
                pass

    def _one(self, client: socket.socket, received: bytes) -> bytes | None:
        """Answer one request; what was received beyond it, or None when the connection ends."""
        client.settimeout(self.planted.patience if received else None)
        while b"\r\n\r\n" not in received and len(received) < _LARGEST_HEADER:
            piece = client.recv(_PIECE)
            if not piece:
                if received:
                    self._tunnel(client, received, ended=True)
                return None
            received += piece
            client.settimeout(self.planted.patience)
            if not received[:1].isupper():  # It will never be a request line.
                break
        match = _HEADER.match(received)
        lines = match[3].decode("latin-1").split("\r\n")[:-1] if match else []
        headers = {
            name.lower(): value.strip() for name, _, value in (it.partition(":") for it in lines)
        }
        length = headers.get("content-length", "0")
        plain = match and len(headers) == len(lines) and length.isdigit()
        if not match or not plain or headers.keys() & {"transfer-encoding", "expect", "upgrade"}:
            self._tunnel(client, received)
            return None
        rest = bytearray(received[match.end() :])
        while len(rest) < int(length):
            piece = client.recv(_PIECE)
            if not piece:
                self._tunnel(client, received[: match.end()] + bytes(rest), ended=True)
                return None
            rest += piece
        client.settimeout(None)
        path = match[2].decode()
        request = Request(match[1].decode(), path, headers, bytes(rest[: int(length)]))
        keeps = headers.get("connection", "").lower() != "close"
        keeps = self._answer(client, request, keeps)
        return bytes(rest[int(length) :]) if keeps else None

    def _answer(self, client: socket.socket, request: Request, keeps: bool) -> bool:
        """Send the answer to a request; whether the connection goes on."""
        planted = self.planted
        method = request.method
        with planted.around(request):
            response = planted.before(request)
            if response is not None:
                self._send(client, planted.after(request, response), method, keeps)
                return keeps and planted.keeps_connection(response)
            request.finish()
            with contextlib.closing(http.client.HTTPConnection(*self._upstream)) as engine:
                sent = {k: v for k, v in request.headers.items() if k not in _HOP_BY_HOP}
                engine.request(request.method, request.path, request.body or None, sent)
                if not planted.keeps_running:
                    _await(engine.sock, client)
                answer = engine.getresponse()
                response = Response(
                    answer.status,
                    {k.lower(): v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP},
                )
                if response.headers.get("content-type", "").startswith("text/event-stream"):
                    return self._stream(client, request, response, answer) and keeps
                response.body = answer.read()
            response = planted.after(request, response)
            self._send(client, response, method, keeps)
        return keeps and planted.keeps_connection(response)

    def _send(self, client: socket.socket, response: Response, method: str, keeps: bool) -> None:
        body = b"" if method == "HEAD" and not self.planted.answers_head else response.body
        lines = {**response.headers}
        lines.setdefault("content-length", str(len(response.body)))
        if not keeps:
            lines["connection"] = "close"
        client.sendall(_head(response.status, lines) + body)

    def _stream(
        self,
        client: socket.socket,
        request: Request,
        response: Response,
        answer: http.client.HTTPResponse,
    ) -> bool:
        planted = self.planted
        changed = planted.opens_stream(request, response)
        client.sendall(_head(changed.status, {**changed.headers, "transfer-encoding": "chunked"}))
        gone = False
        try:
            for event in planted.events(request, _events(answer)):
                if event and not gone:
                    try:
                        client.sendall(f"{len(event):x}\r\n".encode() + event + b"\r\n")
                        gone = _left(client)
                    except OSError:
                        gone = True
                if gone and not planted.keeps_running:
                    raise Gone
        except ConnectionAbortedError:
            return False
        if not gone:
            client.sendall(b"0\r\n\r\n")
        return not gone

    def _tunnel(self, client: socket.socket, received: bytes, ended: bool = False) -> None:
        """Carry bytes both ways until either side ends."""
        instead = self.planted.broken(received, ended)
        if instead is not None:
            client.sendall(instead)
            return
        with socket.create_connection(self._upstream) as engine:
            engine.sendall(received)
            if ended:
                engine.shutdown(socket.SHUT_WR)
            open_sides = {engine} if ended else {engine, client}
            while engine in open_sides:
                for side in select.select(list(open_sides), [], [])[0]:
                    other = client if side is engine else engine
                    piece = side.recv(_PIECE)
                    if piece:
                        other.sendall(piece)
                        continue
                    open_sides.discard(side)
                    if side is client:
                        engine.shutdown(socket.SHUT_WR)


def _head(status: int, headers: dict[str, str]) -> bytes:
    phrase = http.client.responses.get(status, "")
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _left(client: socket.socket) -> bool:
    readable, _, _ = select.select([client], [], [], 0)
    return bool(readable) and client.recv(1, socket.MSG_PEEK) == b""


def _await(engine: socket.socket, client: socket.socket) -> None:
    """Wait until the engine answers; a client that leaves meanwhile ends its request."""
    watched = [engine, client]
    while engine not in (ready := select.select(watched, [], [])[0]):
        if client in ready:
            if client.recv(1, socket.MSG_PEEK) == b"":
                raise Gone
            watched = [engine]  # The next request waits there already.


def _events(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The events of a stream as they come, each with the empty line that ends it."""
    held = b""
    while piece := answer.read1(_PIECE):
        held += piece
        while (end := held.find(b"\n\n")) >= 0:
            yield held[: end + 2]
            held = held[end + 2 :]
    if held:
        yield held
