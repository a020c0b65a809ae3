"""What an engine leaves outside of its folder when it is killed; standard library only.

vLLM talks to its parts through sockets in a folder for temporary files and through shared memory.
Nobody removes either when its processes are killed, and what vLLM's CPU backend shares among
workers stays even when they end well: files in ``/dev/shm``, which is memory of the host.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterable

_SHARED_MEMORY = "/dev/shm"
_LONGEST_PLACE = 50  # characters: a socket's whole path has 107, and vLLM's name for one has 36
_IN_CLOSE_WRITE, _IN_CREATE = 0x8, 0x100
_libc = ctypes.CDLL(None, use_errno=True)


def make_scratch() -> str:
    """A new folder for an engine's sockets, where such folders are made, or in ``/tmp``."""
    place = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="qwenvl-", dir=place if len(place) <= _LONGEST_PLACE else "/tmp")


def remove_scratch(folder: str) -> None:
    """Take the folder away with all that is in it; whatever of it cannot be removed stays."""
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


class SharedMemory:
    """Knows which files of ``/dev/shm`` an engine made.

    A file is the engine's when it was made after the engine was started and one of the engine's
    processes has it open or mapped. Names are looked at as the kernel tells of new ones: a process
    that was killed can no longer be asked.
    """

    def __init__(self) -> None:
        self._before = set(_names())
        self.found: dict[str, int] = {}
        self.descriptor = _watch()

    def look(self, pids: Iterable[int]) -> list[tuple[str, int]]:
        """Files of these processes that were not known before, each with its inode's number."""
        if self.descriptor >= 0:
            with contextlib.suppress(OSError):
                while os.read(self.descriptor, 1 << 14):
                    pass
        new = {name for name in _names() if name not in self._before and name not in self.found}
        if not new:
            return []
        mine = {name for pid in pids for name in _held_by(pid) & new}
        found = []
        for name in sorted(mine):
            with contextlib.suppress(OSError):
                found.append((name, os.stat(os.path.join(_SHARED_MEMORY, name)).st_ino))
        self.found.update(found)
        return found


def remove_shared_memory(found: Iterable[tuple[str, int]]) -> None:
    """Remove those of the files that are still the same and that nobody on the host holds."""
    left = []
    for name, inode in found:
        with contextlib.suppress(OSError):
            if os.stat(os.path.join(_SHARED_MEMORY, name)).st_ino == inode:
                left.append(name)
    if not left:
        return
    held = {name for pid in os.listdir("/proc") if pid.isdigit() for name in _held_by(int(pid))}
    for name in left:
        if name not in held:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(_SHARED_MEMORY, name))


def _names() -> list[str]:
    try:
        return os.listdir(_SHARED_MEMORY)
    except OSError:
        return []


def _held_by(pid: int) -> set[str]:
    """Names of the files in ``/dev/shm`` that a process has mapped or open."""
    held = set()
    mark = f"{_SHARED_MEMORY}/"
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as maps:
        for line in maps:
            where = line.find(mark.encode())
            if where >= 0:
                held.add(os.fsdecode(line[where + len(mark) :].rstrip(b"\n")))
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
                if target.startswith(mark):
                    held.add(target[len(mark) :])
    return held


def _watch() -> int:
    """A descriptor that can be read when a file comes to ``/dev/shm``; -1 where none can be had."""
    descriptor: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    # A file that is closed again may be mapped by then, and was not when it was made.
    wanted = _IN_CREATE | _IN_CLOSE_WRITE
    path = _SHARED_MEMORY.encode()
    if descriptor >= 0 and _libc.inotify_add_watch(descriptor, path, wanted) < 0:
        os.close(descriptor)
        return -1
    return descriptor
