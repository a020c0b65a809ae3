"""Defects of connections: framing, pace, clients that leave half-way."""

from __future__ import annotations

import re
import time

from tests.defects.planting import Planted, defect

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


@defect("two-lengths-taken", "takes the first of two contradicting lengths", "ROB-017")
class _TwoLengths(Planted):
    def broken(self, received: bytes, ended: bool) -> bytes | None:
        return OK if len(re.findall(rb"\r\nContent-Length:", received)) > 1 else None


@defect("broken-framing-fails", "fails on a length that is no number", "ROB-017")
class _LengthFails(Planted):
    def broken(self, received: bytes, ended: bool) -> bytes | None:
        wrong = b"Content-Length: ten" in received
        return OK.replace(b"200 OK", b"500 Internal Server Error") if wrong else None


@defect("half-requests-wait", "waits for the rest of a request whose client ended it", "ROB-018")
class _HalfRequestsWait(Planted):
    def broken(self, received: bytes, ended: bool) -> bytes | None:
        if ended:
            time.sleep(25.0)
        return None


@defect("slow-senders-dropped", "drops requests that arrive slowly", "ROB-019")
class _SlowSenders(Planted):
    patience = 0.2
