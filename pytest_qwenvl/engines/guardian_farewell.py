"""The farewell that a guardian says to what its engine runs elsewhere; standard library only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from pytest_qwenvl.engines.guardian_family import send

_FAREWELL_LIMIT = 40.0  # seconds for the farewell; below what pytest grants the kernel for SIGKILL


class Farewell:
    """The command that ends what an engine runs elsewhere; started once, never waited for."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self._argv = argv
        self._environment = environment
        self._deadline = 0.0
        self._said = -1
        self.pid = 0
        self.failure = ""
        self.over = not argv

    def look(self, now: float) -> None:
        """Start it at the first call; end it when it takes too long."""
        if self.over:
            return
        if not self.pid:
            self._start(now)
        elif now >= self._deadline:
            self.failure = f"{self._argv[0]} did not end within {_FAREWELL_LIMIT:.0f} s"
            send([self.pid], signal.SIGKILL)

    def ended(self, status: int) -> None:
        """Take its exit status, and its words if it failed."""
        self.over = True
        with contextlib.suppress(OSError):
            words = os.read(self._said, 1 << 14).decode(errors="replace").strip()
            if status != 0:
                self.failure = self.failure or words or f"exit status {status}"
        os.close(self._said)

    def _start(self, now: float) -> None:
        self._said, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._said, False)
        try:
            process = subprocess.Popen(
                self._argv,
                env=self._environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=writer,
                start_new_session=True,
            )
        except OSError as error:
            self.over = True
            self.failure = f"{self._argv[0]}: {error.strerror}"
        else:
            self.pid = process.pid
            self._deadline = now + _FAREWELL_LIMIT
            process.returncode = 0  # reaped with everything else
        finally:
            os.close(writer)
