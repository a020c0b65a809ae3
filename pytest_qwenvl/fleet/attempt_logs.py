"""What nodes say, shown with the place it is from, and kept by attempt also of those that die."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

LOG = "fleet.log"


class AttemptLogs:
    """Passes lines on, and keeps them in ``fleet.log``; a full disk costs lines of the log only.

    Args:
        root: the fleet's report directory.
        show: takes the place a line is from (empty for the head), and its text.
    """

    def __init__(self, root: Path, show: Callable[[str, str], None]) -> None:
        self._show = show
        self._file: IO[str] | None = None
        with contextlib.suppress(OSError):
            self._file = (root / LOG).open("a", encoding="utf-8")

    def say(self, place: str, text: str) -> None:
        """Take one line."""
        self._show(place, text)
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.write(f"[{place}] {text}\n" if place else f"{text}\n")
                self._file.flush()

    def close(self) -> None:
        """Let go of the log."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
