"""A loopback port that nobody takes between choosing it and serving on it.

The holder keeps a socket bound to the port, never listening, for as long as the engine lives.
vLLM binds with ``SO_REUSEADDR``; Linux lets two sockets share a port when both say so and neither
listens yet, so vLLM gets in beside the holder. Everybody else is kept out: the kernel hands the
port to nobody who asks for a free one, and a bind without the option fails.
"""

from __future__ import annotations

import errno
import socket
from types import TracebackType

from pytest_qwenvl.errors import EngineStartError


class ReservedPort:
    """A port held for one engine; use as a context manager or call :meth:`release`."""

    def __init__(self, host: str, holder: socket.socket) -> None:
        self.host = host
        self.port: int = holder.getsockname()[1]
        self._holder = holder

    def release(self) -> None:
        """Let the port go; call it only when the engine is gone."""
        self._holder.close()

    def __enter__(self) -> ReservedPort:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def reserve_port(host: str = "127.0.0.1", port: int = 0) -> ReservedPort:
    """Hold ``port`` of ``host``, or one of the kernel's choice for 0.

    Raises:
        EngineStartError: the port is in use, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    holder = socket.socket(family, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, port))
    except OSError as error:
        holder.close()
        if error.errno == errno.EADDRINUSE:
            raise EngineStartError(
                f"port {port} of {host} is taken by another process; end it, or leave the choice "
                "of a port to the suite"
            ) from error
        raise EngineStartError(f"cannot bind to {host}:{port}: {error.strerror}") from error
    return ReservedPort(host, holder)
