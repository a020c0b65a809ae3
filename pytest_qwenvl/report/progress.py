"""Show that a long step (weights loading, an evaluation) is alive, and leave no trace of it.

On a terminal: one line below the cursor, redrawn every second. Elsewhere (a log of CI): a line
every 30 s. The first never touches what pytest has on its own line: it is drawn one line down
and the cursor put back, so that an unfinished ``test_x.py ..`` stays as it is.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

REDRAW_SECONDS = 1.0
LINE_SECONDS = 30.0

# IND makes room below (scrolling at the bottom) and keeps the column, which a newline would not.
_BEGIN = "\x1bD\x1b[A\x1b7\x1b[B\r\x1b[2K"
_END = "\x1b8"
_CLEAR = "\x1b7\x1b[B\r\x1b[2K\x1b8"


class StepProgress:
    """One long step, shown while the ``with`` block runs.

    Thread-safe. Without a writer (an xdist worker) it does nothing at all, and starts no thread.
    An error of the writer ends the display, never the step.

    Args:
        title: what is going on, e.g. ``starting qwen3-vl-tiny/serve-1npu``.
        writer: takes text for the terminal or the log; None keeps silent.
        is_terminal: whether that is a terminal that can redraw a line.
        suspend: gives a context in which the writer's text is not captured.
        clock: seconds, monotonic.
        columns: the terminal's width when a line is drawn.
        ticking: whether a thread calls ``tick``; tests do so themselves.
    """

    def __init__(
        self,
        title: str,
        writer: Callable[[str], None] | None,
        *,
        is_terminal: bool = False,
        suspend: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
        ticking: bool = True,
    ) -> None:
        self._title = title
        self._writer = writer
        self._is_terminal = is_terminal
        self._suspend = suspend
        self._clock = clock
        self._columns = columns
        self._ticking = ticking
        self._lock = threading.Lock()
        self._text = ""
        self._began = self._shown = 0.0
        self._drawn = False
        self._open = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> StepProgress:
        self._began = self._shown = self._clock()
        if self._writer is None:
            return self
        self._open = True
        self.tick()
        if self._ticking:
            self._thread = threading.Thread(target=self._run, name="qwenvl-progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        with self._lock:
            # Closed under the lock: a tick that is still waiting for it draws nothing more.
            self._open = False
            if self._drawn:
                self._write(_CLEAR)
                self._drawn = False
        if self._thread is not None:
            self._thread.join(timeout=REDRAW_SECONDS)

    def update(self, text: str) -> None:
        """Say how far the step is; shown at the next redraw or with the next line."""
        with self._lock:
            self._text = " ".join(text.split())

    def tick(self) -> None:
        """Show the step's state if it is time to."""
        with self._lock:
            if not self._open:
                return
            now = self._clock()
            if self._is_terminal:
                columns = max(1, self._columns() - 1)
                self._drawn = True
                self._write(f"{_BEGIN}{self._line(now)[:columns]}{_END}")
            elif now - self._shown >= LINE_SECONDS:
                self._shown = now
                self._write(f"{self._line(now)}\n")

    def _line(self, now: float) -> str:
        line = f"{self._title} ({now - self._began:.0f} s)"
        text = "".join(letter for letter in self._text if letter.isprintable())
        return f"{line}: {text}" if text else line

    def _write(self, text: str) -> None:
        if self._writer is None:
            return
        try:
            with self._suspend():
                self._writer(text)
        except (OSError, ValueError):
            # A closed pipe or stream: nobody is looking any more.
            self._open = False

    def _run(self) -> None:
        while not self._stop.wait(REDRAW_SECONDS):
            self.tick()
