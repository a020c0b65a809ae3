"""Reading a server's log, whose lines come a little after the answers they are about."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_qwenvl.engines.endpoint import Endpoint

_DELAY = 10.0  # seconds; a line goes through a pipe to the file, and a busy host is slow at it
_POLL = 0.02


def log_when(server: Endpoint, start: int, written: Callable[[str], bool]) -> str:
    """The log from the offset ``start`` (bytes) on, once it holds what is waited for.

    What never comes is waited for ten seconds; then the log is returned as it is.
    """
    deadline = time.monotonic() + _DELAY
    while not written(log := server.log_since(start)) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return log
