"""A server that answers as its script says, for tests of what is asked and how answers are read."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

CHAT = "POST /v1/chat/completions"
HELLO = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}}]}


class Seen(NamedTuple):
    """A request as it came in."""

    line: str
    headers: dict[str, str]
    body: bytes
    client: int
    """The port at the client's side: one for each connection."""


class Scripted(ThreadingHTTPServer):
    """Answers ``METHOD /path`` with (status, body); anything else with 404."""

    daemon_threads = True

    def __init__(self, script: Mapping[str, tuple[int, Any]]) -> None:
        self.script = dict(script)
        self.seen: list[Seen] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def lines(self) -> list[str]:
        return [seen.line for seen in self.seen]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        line = f"{self.command} {self.path}"
        self.server.seen.append(
            Seen(
                line,
                {name.title(): its for name, its in self.headers.items()},
                body,
                self.client_address[1],
            )
        )
        status, said = self.server.script.get(line, (404, {"detail": "Not Found"}))
        data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", str(said))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def log_message(self, format: str, *arguments: Any) -> None:
        del format, arguments


@contextlib.contextmanager
def scripted(script: Mapping[str, tuple[int, Any]]) -> Iterator[Scripted]:
    """Run such a server for the length of a ``with`` block."""
    with Scripted(script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def models(*names: str) -> tuple[int, dict[str, Any]]:
    """What ``/v1/models`` answers for these names."""
    return 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}
