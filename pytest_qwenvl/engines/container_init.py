"""The first process of an engine's container: nothing in it outlives whoever asked for it.

A program for the image's interpreter, standard library only::

    python container_init.py PATIENCE FOLDER COMMAND...

It runs COMMAND, hands signals on to it, reaps what it leaves, and exits as it did. A container
goes on when the client that started it is killed; the one thing that comes through is the end of
standard input, which is only watched here, never read. PATIENCE seconds after that end COMMAND is
asked to end, and killed when it does not. FOLDER is the run's: what was written there as root is
given to the folder's owner, who could not delete it otherwise.

``QWENVL_PRELOAD`` lists shared objects, of which those that exist in the image are preloaded.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

_GRACE = 5.0  # seconds between asking (SIGTERM) and killing
_PRELOAD = "QWENVL_PRELOAD"
# As the shell and the container engines count.
_NOT_EXECUTABLE, _NOT_FOUND, _SIGNALLED = 126, 127, 128


class FirstProcess:
    """Runs one command to its end."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._child = 0
        self._early: list[int] = []  # signals that came before there was anybody to hand them to
        self._next: float | None = None  # when to send the next of the signals
        self._signals = [signal.SIGTERM, signal.SIGKILL]

    def run(self, command: list[str], environment: dict[str, str]) -> int:
        """Start the command and wait; its exit code, or 128 more than a signal's number."""
        wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, lambda received, _: self._send(received))
        try:
            process = subprocess.Popen(command, env=environment)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
            return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        self._child = process.pid
        process.returncode = 0  # reaped below, with whatever else comes to the first process
        for early in self._early:
            self._send(early)
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        poller.register(0, 0)
        while True:
            for descriptor, _ in poller.poll(self._wait()):
                if descriptor == wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 1 << 12)
                else:
                    poller.unregister(0)
                    self._next = time.monotonic() + self._patience
            status = self._reap()
            if status is not None:
                return status if status >= 0 else _SIGNALLED - status
            if self._next is not None and time.monotonic() >= self._next:
                self._send(self._signals.pop(0))
                self._next = time.monotonic() + _GRACE if self._signals else None

    def _wait(self) -> float | None:
        # Milliseconds, rounded up.
        return None if self._next is None else max(0.0, self._next - time.monotonic()) * 1000 + 1

    def _send(self, number: int) -> None:
        if not self._child:
            self._early.append(number)
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, number)

    def _reap(self) -> int | None:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return None
            if pid == self._child:
                return os.waitstatus_to_exitcode(status)


def give_back(folder: str) -> None:
    """Give what is root's in the folder to the owner of the folder."""
    try:
        owner = os.stat(folder)
    except OSError:
        return
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            with contextlib.suppress(OSError):
                if os.lstat(path).st_uid == 0:
                    os.lchown(path, owner.st_uid, owner.st_gid)


def with_preload(environment: dict[str, str]) -> dict[str, str]:
    """The environment with ``LD_PRELOAD`` made of what is wanted and exists here."""
    environment = dict(environment)
    wanted = environment.pop(_PRELOAD, "").split(":")
    before = environment.get("LD_PRELOAD", "").split(":")
    preload = [path for path in wanted if path and os.path.exists(path)]
    if preload:
        environment["LD_PRELOAD"] = ":".join([*preload, *filter(None, before)])
    return environment


def main(patience: str, folder: str, *command: str) -> int:
    """Run the command as the first process; its exit code."""
    try:
        return FirstProcess(float(patience)).run(list(command), with_preload(dict(os.environ)))
    finally:
        give_back(folder)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
