"""Writing lines that hold what a model or an engine wrote, for a person at a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to standard output, without what would command the terminal.

    A reader that goes away (``head``) changes nothing: the exit code is the verdict's.
    """
    try:
        for line in lines:
            text = "".join(char if char.isprintable() else " " for char in line)
            # Text may be of an alphabet that the terminal's encoding lacks.
            encoding = sys.stdout.encoding or "utf-8"
            sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
