"""Long steps of xdist workers, shown by the controller: a worker has no output of its own.

Each step of a worker is a small file in a folder that all processes of the run share; the
controller reads them once a second. A file of a worker that died says nothing any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pytest_qwenvl.report.progress import REDRAW_SECONDS, StepProgress

# Seconds between writings: the controller looks no more often.
_WRITE_INTERVAL = 0.5


class RelayedStep(StepProgress):
    """One long step of a worker, told to the controller.

    An error of writing ends the telling, never the step.

    Args:
        title: what is going on.
        folder: where the controller looks.
        worker: the worker's name, e.g. ``gw0``.
    """

    def __init__(self, title: str, folder: Path, worker: str) -> None:
        super().__init__(title, None)
        self._state = {"worker": worker, "pid": os.getpid(), "title": title, "began": time.time()}
        self._path = folder / f"{worker}-{uuid.uuid4().hex[:8]}.json"
        self._written = 0.0

    def __enter__(self) -> RelayedStep:
        super().__enter__()
        self._tell("")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def update(self, text: str) -> None:
        """Say how far the step is; written down if the last time is half a second ago."""
        super().update(text)
        if time.monotonic() - self._written >= _WRITE_INTERVAL:
            self._tell(" ".join(text.split()))

    def _tell(self, text: str) -> None:
        self._written = time.monotonic()
        new = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                new.write_text(json.dumps({**self._state, "text": text}), encoding="utf-8")
                new.replace(self._path)
            except OSError:
                # A disk that is full takes the name of a file, and nothing of what is in it.
                new.unlink(missing_ok=True)


def steps_in(folder: Path, now: float) -> list[str]:
    """What workers are at, a line each, in order of their names; those that died are left out.

    Args:
        now: seconds since the epoch.
    """
    lines = []
    for path in sorted(folder.glob("*.json")):
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            os.kill(int(state["pid"]), 0)
            seconds = now - float(state["began"])
            line = f"{state['worker']} {state['title']} ({seconds:.0f} s)"
            lines.append(f"{line}: {state['text']}" if state["text"] else line)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return lines


class WorkerDisplay:
    """Shows what workers are at while the ``with`` block runs; nothing while they are at nothing.

    Args:
        folder: where workers tell; removed at the end.
        step: opens a step of the controller's own, in which the workers' are shown.
    """

    def __init__(self, folder: Path, step: Callable[[str], StepProgress]) -> None:
        self._folder = folder
        self._step = step
        self._shown: StepProgress | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="qwenvl-workers", daemon=True)

    def __enter__(self) -> WorkerDisplay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._show([])
        for path in self._folder.glob("*-*.json"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def look(self) -> None:
        """Show what workers are at now."""
        self._show(steps_in(self._folder, time.time()))

    def _show(self, lines: list[str]) -> None:
        if lines and self._shown is None:
            self._shown = self._step("workers")
            self._shown.__enter__()
        if self._shown is not None:
            self._shown.update(" | ".join(lines))
            if not lines:
                self._shown.__exit__(None, None, None)
                self._shown = None

    def _run(self) -> None:
        while not self._stop.wait(REDRAW_SECONDS):
            self.look()
