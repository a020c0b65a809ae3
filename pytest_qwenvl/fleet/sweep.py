"""Remove the folder of an attempt once its task is gone, whatever ended it.

A program: ``python -I -S sweep.py FOLDER``, with a pipe for its standard input whose other end the
task holds. Standard library only. It goes on in a process of its own, which is nobody's child: Ray
kills the children of a worker that ends. What a dying engine writes once more is removed too: it
ends when nothing came back for a while.
"""

from __future__ import annotations

import os
import shutil
import sys
import time

_PATIENCE = 60.0  # seconds from the task's end on
_QUIET = 3.0  # seconds for which nothing may come back
_INTERVAL = 0.1


def sweep(folder: str) -> None:
    """Wait for the processes that were given the folder to end, then remove it until it is gone."""
    deadline = time.monotonic() + _PATIENCE
    while os.path.exists(folder) and _is_used(folder) and time.monotonic() < deadline:
        time.sleep(_INTERVAL)
    gone_since = None
    while time.monotonic() < deadline:
        now = time.monotonic()
        if os.path.exists(folder):
            shutil.rmtree(folder, ignore_errors=True)
            gone_since = None
        elif gone_since is None:
            gone_since = now
        elif now - gone_since >= _QUIET:
            return
        time.sleep(_INTERVAL)


def _is_used(folder: str) -> bool:
    mark = os.fsencode(folder)
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if mark in file.read():
                        return True
            except OSError:
                continue
    return False


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    while os.read(0, 1):
        pass
    sweep(sys.argv[1])
