"""Hosts on the loopback that a server asks for a picture in vain."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Literal

Manner = Literal["silent", "endless", "cut off", "no HTTP"]

_ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n"
_CUT_OFF = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 5000\r\n\r\nhalf"
_PIECE = b"\0" * 1_000_000
# More than VLLM_MAX_MEDIA_DOWNLOAD_SIZE_MB (256) takes. An older vLLM, which has no such limit
# but one of time, must not be filled until it dies: what follows trickles (bytes; seconds a byte).
_FAST = 300_000_000
_TRICKLE = 0.2


class HardHost:
    """Accepts connections and then never answers, never ends, or breaks off.

    Attributes:
        connections: how many were accepted so far.
        sent: bytes of bodies that were taken from it.
    """

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self.connections = 0
        self.sent = 0
        self._ending = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Where a picture might lie."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}/picture.png"

    def stop(self) -> None:
        """Break every connection and free the port."""
        self._ending.set()
        # Closing a socket does not wake who accepts on it; a connection does.
        with contextlib.suppress(OSError):
            socket.create_connection(self._listening.getsockname(), timeout=1).close()
        self._threads[0].join()
        self._listening.close()
        self.hang_up()
        for thread in self._threads[1:]:
            thread.join()
        for its in self._open:
            its.close()

    def hang_up(self) -> None:
        """Break every connection there is."""
        for its in self._open:
            with contextlib.suppress(OSError):
                its.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            its, _ = self._listening.accept()
            if self._ending.is_set():
                its.close()
                return
            self.connections += 1
            self._open.append(its)
            thread = threading.Thread(target=self._answer, args=(its,))
            thread.start()
            self._threads.append(thread)

    def _answer(self, its: socket.socket) -> None:
        with contextlib.suppress(OSError):
            its.recv(65536)
            if self.manner == "silent":
                self._ending.wait()
            elif self.manner == "no HTTP":
                its.sendall(b"SSH-2.0-nothing\r\n")
                its.shutdown(socket.SHUT_RDWR)
            elif self.manner == "cut off":
                its.sendall(_CUT_OFF)
                its.shutdown(socket.SHUT_RDWR)
            else:
                its.sendall(_ENDLESS)
                sent = 0
                while sent < _FAST and not self._ending.is_set():
                    its.sendall(_PIECE)
                    sent += len(_PIECE)
                    self.sent += len(_PIECE)
                while not self._ending.wait(_TRICKLE):
                    its.sendall(b"\0")


@contextlib.contextmanager
def hard_host(manner: Manner) -> Iterator[HardHost]:
    """A host that is hard on whoever fetches from it, for as long as the block lasts."""
    host = HardHost(manner)
    try:
        yield host
    finally:
        host.stop()
