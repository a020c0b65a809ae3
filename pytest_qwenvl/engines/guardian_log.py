"""The log that a guardian keeps of its engine; standard library only."""

from __future__ import annotations

import os


class Log:
    """The engine's log file; bytes that cannot be written are counted, never waited for."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.lost = 0
        self._reason = ""
        self._noted = 0

    def write(self, data: bytes) -> None:
        """Append ``data``, after a note of what was lost where something was."""
        if self.lost > self._noted:
            missing = self.lost - self._noted
            note = f"\n[{missing} bytes of the log were lost: {self._reason}]\n".encode()
            if self._append(note) == len(note):
                self._noted = self.lost
        written = self._append(data)
        self.lost += len(data) - written

    def _append(self, data: bytes) -> int:
        written = 0
        while written < len(data):
            try:
                written += os.write(self._file, data[written:])
            except OSError as error:
                self._reason = error.strerror or type(error).__name__
                break
        return written
