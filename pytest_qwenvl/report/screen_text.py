"""Fitting text to a screen: lines wrapped, cut and counted (pure)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pytest_qwenvl.report.table import clip


def screen_lines(lines: list[str], width: int) -> int:
    """Lines of the screen that ``lines`` take, those that are too long for one included."""
    return sum(max(1, -(-len(line) // width)) for line in lines)


def names_that_fit(names: list[str], width: int) -> str:
    """As many of ``names`` as fit, one at least, and how many there are beyond them."""
    for shown in range(len(names), 0, -1):
        more = len(names) - shown
        text = ", ".join(names[:shown]) + (f" and {more} more" if more else "")
        if len(text) <= width:
            return text
    return text


def wrapped(text: str, width: int, most: int) -> list[str]:
    """``text`` in at most ``most`` lines of ``width``; a cut is shown by an ellipsis."""
    lines = list(wrap_each(text, width))
    if len(lines) > most:
        lines = [*lines[: most - 1], clip(f"{lines[most - 1]} …", width - 1)]
    return lines


def wrap_each(text: str, width: int) -> Iterator[str]:
    """The lines of ``text``, each wrapped by itself."""
    for paragraph in text.strip().splitlines():
        yield from textwrap.wrap(paragraph, width, break_on_hyphens=False) or [""]


def cut_to_fit(title: str, lines: list[str], room: int, *, keep_end: bool) -> list[str]:
    """``title`` and as many of ``lines`` as fit in ``room``, with a note of what is missing."""
    if not lines or room < 2:
        return []
    if len(lines) + 1 <= room:
        return [title, *lines]
    kept = room - 2
    note = f"  … {len(lines) - kept} more lines in the report"
    return [title, note, *lines[len(lines) - kept :]] if keep_end else [title, *lines[:kept], note]
