"""Runs a few commands at once, each in a process group of its own, and waits no longer than told.

A tool that talks to a driver can hang, flood its output or leave a child behind that keeps the
pipe open. None of that may hold up pytest.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_MOST_BYTES = 4 << 20
# A process stuck in a driver call cannot be killed; it is left to the kernel after this long.
_FAREWELL_SECONDS = 0.5


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    Attributes:
        status: exit status, negative for a signal; None when it did not end by itself.
        problem: why it did not end by itself, as the end of a sentence; empty when it did.
    """

    argv: tuple[str, ...]
    status: int | None
    stdout: str
    stderr: str
    problem: str = ""


def run_together(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str], timeout: float
) -> tuple[Finished, ...]:
    """Run the commands beside each other; their ends, in the same order.

    Args:
        environment: all variables they get.
        timeout: seconds until whatever still runs is killed with all its children.
    """
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(_started(argv, environment)) for argv in commands]
        with selectors.DefaultSelector() as selector:
            for one in running:
                if isinstance(one, _Running):
                    selector.register(one.process.stdout or 0, selectors.EVENT_READ, (one, 0))
                    selector.register(one.process.stderr or 0, selectors.EVENT_READ, (one, 1))
            while selector.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    one, stream = key.data
                    data = os.read(key.fd, 1 << 16)
                    one.output[stream] += data
                    one.open_streams -= not data
                    too_much = len(one.output[stream]) > _MOST_BYTES
                    if too_much:
                        one.kill()
                    if too_much or not data:
                        selector.unregister(key.fileobj)
        return tuple(
            one if isinstance(one, Finished) else one.finish(deadline, timeout) for one in running
        )


class _Running:
    def __init__(self, process: subprocess.Popen[bytes], argv: tuple[str, ...]) -> None:
        self.process = process
        self.argv = argv
        self.output = [bytearray(), bytearray()]
        self.open_streams = 2

    def kill(self) -> None:
        """End it and its children, unless it has ended: its number may be another's then."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def finish(self, deadline: float, timeout: float) -> Finished:
        """What became of it, once its output ended or the time was up."""
        status: int | None = None
        problem = f"did not end within {timeout:g} s"
        if max(map(len, self.output)) > _MOST_BYTES:
            problem = f"printed more than {_MOST_BYTES >> 20} MiB"
        elif not self.open_streams:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(max(deadline - time.monotonic(), 0.01))
                problem = ""
        stdout, stderr = (text.decode("utf-8", "replace") for text in self.output)
        return Finished(self.argv, status, stdout, stderr, problem)


@contextlib.contextmanager
def _started(argv: Sequence[str], environment: Mapping[str, str]) -> Iterator[_Running | Finished]:
    """A command that runs, with nothing of it left when the ``with`` block ends."""
    try:
        process = subprocess.Popen(
            argv,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as problem:
        yield Finished(tuple(argv), None, "", "", f"could not be started: {problem.strerror}")
        return
    running = _Running(process, tuple(argv))
    try:
        yield running
    finally:
        running.kill()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_FAREWELL_SECONDS)
