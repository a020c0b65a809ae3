"""What servers may do differently, and no requirement may object to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.defects.messages import Request, Response
from tests.defects.planting import Planted, read_chunk


class Harmless(Planted):
    """Other spaces, escapes and orders in JSON, comments in streams, a connection for each request.

    All of it means the same by RFC 8259, RFC 9112 and the specification of server-sent events.
    """

    def after(self, request: Request, response: Response) -> Response:
        """Write JSON otherwise, and announce the end of the connection."""
        body = response.document
        if body is not None:
            response.body = json.dumps(_reordered(body), indent=1).encode()
        response.headers["connection"] = "close"
        return response

    def keeps_connection(self, response: Response) -> bool:
        """As it was announced."""
        return False

    def events(self, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
        """Comments between events, and another way to write each."""
        yield b": here it comes\n\n"
        for event in events:
            body = read_chunk(event)
            before = event.partition(b"data: ")[0]
            data = event if body is None else before + _data(body)
            yield b":\n" + data


def _data(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(_reordered(body)).encode() + b"\n\n"


def _reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reordered(value[key]) for key in reversed(value)}
    return [_reordered(it) for it in value] if isinstance(value, list) else value
