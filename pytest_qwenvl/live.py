"""Long steps shown to whoever watches, past pytest's capturing of output."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

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


# What tqdm draws, in vLLM and in lm-eval: ``label:  45%|####    | 54/120 [00:12<00:15, 4.4it/s]``.
_BAR = re.compile(
    r"(?:(?P<label>[^|\r\n]*?):\s*)?\d+%\|[^|]*\|\s*(?P<done>\d+)/(?P<total>\d+)\s*"
    r"\[[^<\]]*(?:<(?P<left>[\d:]+))?"
)


@dataclass(frozen=True)
class BarProgress:
    """How far a program says it is.

    Attributes:
        label: what it is doing, in its own words; empty where it says nothing.
        time_left: as it estimates it, e.g. ``00:15``; empty where it does not.
    """

    label: str
    done: int
    total: int
    time_left: str

    def __str__(self) -> str:
        text = f"{self.label}: " if self.label else ""
        text += f"{self.done} of {self.total} done, {max(0, self.total - self.done)} left"
        return f"{text} ({self.time_left})" if self.time_left and self.done else text


def progress_of(line: str) -> BarProgress | None:
    """The progress bar in a line of a program's output, the last if there are several."""
    bars = list(_BAR.finditer(line))
    if not bars:
        return None
    found = bars[-1]
    label = (found["label"] or "").strip()
    return BarProgress(label, int(found["done"]), int(found["total"]), found["left"] or "")


# What engines/lm_eval_worker.py tells while answers come.
_SCORE = re.compile(r"evaluated (\d+) of (\d+), score so far (\d+(?:\.\d+)?)")


class EvaluationProgress:
    """How far an evaluation is, from the lines of its output: done, left, and the score so far."""

    def __init__(self) -> None:
        self._bar: BarProgress | None = None
        self._score = ""

    def text_after(self, line: str) -> str:
        """What to show once ``line`` was seen; empty while there is nothing to tell."""
        self._bar = progress_of(line) or self._bar
        if found := _SCORE.search(line):
            # Answers come in batches, so a bar of another thing may have other numbers.
            self._score = "score so far {2} ({0} of {1} answers)".format(*found.groups())
        return ", ".join(filter(None, [str(self._bar or ""), self._score]))
