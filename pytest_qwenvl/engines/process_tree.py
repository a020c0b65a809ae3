"""Finding the processes of one engine from outside, with its guardian alive or dead.

A descendant is found by parentage while the guardian lives, and by the engine's session or by a
token in its environment when it does not.
"""

from __future__ import annotations

import contextlib
import os
import time

TOKEN = "QWENVL_ENGINE_TOKEN"
KILL_TIMEOUT = 60.0  # seconds for the kernel to end what SIGKILL hit


def alive(guardian: int, engine: int, token: str) -> list[int]:
    """Processes that descend from the guardian, share the engine's session or carry its token."""
    import psutil

    found: set[int] = set()
    with contextlib.suppress(psutil.Error):
        found.update(child.pid for child in psutil.Process(guardian).children(recursive=True))
    mark = f"{TOKEN}={token}".encode()
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if (engine and os.getsid(pid) == engine) or _carries(pid, mark):
                found.add(pid)
    found.discard(guardian)
    return sorted(pid for pid in found if _is_running(pid))


def _carries(pid: int, mark: bytes) -> bool:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return mark in file.read()


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False


def kill_all(guardian: int, engine: int, token: str) -> None:
    """Kill every process that :func:`alive` finds, until it finds none."""
    deadline = time.monotonic() + KILL_TIMEOUT
    while time.monotonic() < deadline:
        left = alive(guardian, engine, token)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        time.sleep(0.02)
