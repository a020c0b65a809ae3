"""Reading a log while a program writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


class LogFollower:
    """Hands each new line of a growing log to a callback."""

    def __init__(self, path: Path, on_line: Callable[[str], None] | None, offset: int = 0) -> None:
        self._path = path
        self._on_line = on_line
        self._offset = offset
        self._partial = b""

    def look(self, *, last: bool = False) -> None:
        """Hand over the lines that were completed since the last look; the rest too if ``last``."""
        if self._on_line is None:
            return
        data = read_from(self._path, self._offset)
        self._offset += len(data)
        *lines, self._partial = (self._partial + data).replace(b"\r", b"\n").split(b"\n")
        if last and self._partial:
            lines.append(self._partial)
            self._partial = b""
        for line in lines:
            if line.strip():
                self._on_line(line.decode(errors="replace"))


def read_from(path: Path, offset: int) -> bytes:
    """The file from ``offset`` (bytes) on; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except OSError:
        return b""
