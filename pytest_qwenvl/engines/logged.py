"""Reading the log of an engine that runs as our own process."""

from __future__ import annotations

from pytest_qwenvl.engines.process import EngineProcess


class Logged:
    """The log of ``process``, as tests and messages read it."""

    process: EngineProcess

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the engine's log."""
        return self.process.log_tail(lines)

    def log_offset(self) -> int:
        """Size of the log now, in bytes."""
        return self.process.log_offset()

    def log_since(self, offset: int) -> str:
        """The log from ``offset`` (bytes) on."""
        return self.process.log_since(offset)
