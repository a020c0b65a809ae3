"""A web server on the loopback that serves pictures, and remembers who asked for what.

It is where a served model fetches pictures from, and the canary of what must not be fetched.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

from pytest_qwenvl.engines.endpoint import Endpoint

_PATIENCE = 2.0  # seconds; less than any client waits for a picture


@dataclass(frozen=True)
class Page:
    """What lies under a path.

    Attributes:
        media_type: the Content-Type it is served with.
        location: where a redirecting ``status`` points to.
        after: the path of a page that is answered before this one; for a client that never asks
            for it while it waits here, this one is answered two seconds later.
    """

    data: bytes = b""
    media_type: str = "image/png"
    status: int = 200
    location: str = ""
    after: str = ""


class PictureServer:
    """Pages by path, and every request line seen.

    Attributes:
        pages: what is served, by decoded path, whatever the query; anything else is 404. May be
            changed while it runs.
    """

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self.pages = dict(pages)
        self._changed = threading.Condition()
        self._asked: list[str] = []
        self._answered: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def asked(self) -> list[str]:
        """The targets asked for so far, as they stood in the request lines."""
        with self._changed:
            return list(self._asked)

    def url(self, path: str) -> str:
        """The address of a path, which begins with a slash."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def start(self) -> None:
        """Serve from a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nothing more and free the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def note(self, target: str) -> None:
        """Remember a request."""
        with self._changed:
            self._asked.append(target)

    def answered(self, path: str) -> None:
        """Remember that a page was answered, for those that wait for it."""
        with self._changed:
            self._answered.add(path)
            self._changed.notify_all()

    def wait_for(self, path: str) -> None:
        """Wait until a page was answered, or long enough."""
        with self._changed:
            self._changed.wait_for(lambda: path in self._answered, _PATIENCE)


@contextmanager
def serving(server: Endpoint, pages: Mapping[str, Page]) -> Iterator[PictureServer]:
    """A picture server that ``server`` can reach, for as long as the block lasts.

    Skips the test where ``server`` runs on another host, which has a loopback of its own.
    """
    host = urlsplit(server.base_url).hostname or ""
    if not _is_loopback(host):
        pytest.skip(f"the server runs on {host} and cannot fetch from this host's loopback")
    pictures = PictureServer(pages)
    pictures.start()
    try:
        yield pictures
    finally:
        pictures.stop()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _handler(pictures: PictureServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Serve a page, or 404."""
            pictures.note(self.path)
            path = unquote(urlsplit(self.path).path)
            page = pictures.pages.get(path, Page(b"nothing here", "text/plain", 404))
            if page.after:
                pictures.wait_for(page.after)
            self.send_response(page.status)
            self.send_header("Content-Type", page.media_type)
            self.send_header("Content-Length", str(len(page.data)))
            if page.location:
                self.send_header("Location", page.location)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(page.data)
            pictures.answered(path)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the test tells what was asked for."""

    return Handler
