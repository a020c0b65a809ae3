"""Long steps shown to whoever watches, past pytest's capturing of output."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

import pytest

from pytest_qwenvl.report.progress import StepProgress

_WRITER = pytest.StashKey[Callable[[str], None]]()

_IS_TERMINAL = pytest.StashKey[bool]()

Steps = Callable[[str], StepProgress]
"""Opens a step: ``with steps("starting …") as step: step.update("loading weights")``."""


def keep_output(config: pytest.Config) -> None:
    """Keep a way to the real output; to be called while nothing is captured."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = os.dup(sys.stdout.fileno())
        config.add_cleanup(lambda: os.close(descriptor))
        config.stash[_IS_TERMINAL] = os.isatty(descriptor)
        config.stash[_WRITER] = lambda text: _write(descriptor, text)


def steps_of(config: pytest.Config) -> Steps:
    """How this process shows long steps; silent on an xdist worker."""
    writer = config.stash.get(_WRITER, None)
    is_terminal = config.stash.get(_IS_TERMINAL, False)
    return lambda title: StepProgress(title, writer, is_terminal=is_terminal)


def _write(descriptor: int, text: str) -> None:
    data = text.encode("utf-8", errors="replace")
    while data:
        data = data[os.write(descriptor, data) :]
