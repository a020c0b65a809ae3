"""Errors that say what was tried, what was seen, and what to do.

``UsageProblem`` is the user's to fix and ends pytest with exit code 4; the others happen while a
run is under way and are turned into results.
"""

from __future__ import annotations

from pathlib import Path


class QwenVLError(Exception):
    """Base of every error this package raises on purpose."""


class UsageProblem(QwenVLError):
    """The command line, a profile, or the host does not allow the run that was asked for."""


class LeaseError(QwenVLError):
    """Devices that exist could not be had: they are sick, or somebody else uses them."""


class DevicesLostError(LeaseError):
    """Too few devices are left since some did not get their memory back after an engine."""


class EngineError(QwenVLError):
    """An engine did not start, or is gone.

    Args:
        message: what was tried and what was seen.
        log_path: the engine's whole log, or None where there is none (an attached server).
        log_tail: the last lines of that log, shown with the message.
        argv: the command that was run, for the reproduction line.
    """

    def __init__(
        self,
        message: str,
        *,
        log_path: Path | None = None,
        log_tail: str = "",
        argv: tuple[str, ...] = (),
    ) -> None:
        self.message = message
        self.log_path = log_path
        self.log_tail = log_tail
        self.argv = argv
        super().__init__(message)

    def __str__(self) -> str:
        lines = [self.message]
        if self.log_tail:
            lines += [f"last lines of {self.log_path}:", self.log_tail.rstrip()]
        return "\n".join(lines)


class EngineStartError(EngineError):
    """An engine exited, hung or refused its arguments before it was ready."""


class EngineDiedError(EngineError):
    """An engine that had been ready exited while it was in use."""


class OfflineRequestError(QwenVLError):
    """An offline engine refused a request and lives on.

    Args:
        kind: the exception's class in the engine's process, e.g. ``ValueError``.
        message: its text.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(f"{kind}: {message}")


class MeasurementError(QwenVLError):
    """A measuring program (vLLM's bench, lm-eval) did not leave a result that can be judged."""


class InconclusiveError(QwenVLError):
    """The evidence is too little to say PASS or FAIL; the message says what it would take."""
