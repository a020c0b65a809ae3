"""The table of the summary: a row a model and deployment, a column a group (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pytest_qwenvl.report.results import Outcome
from pytest_qwenvl.report.verdict import HOST, NOT_JUDGED, Judged, place_of

GROUPS = (
    "environment",
    "offline",
    "serve",
    "openai",
    "streaming",
    "multi_image",
    "images",
    "grounding",
    "video",
    "consistency",
    "robustness",
    "security",
    "accuracy",
    "latency",
    "soak",
)
"""Columns of the summary, in order; groups it does not name follow."""

TROUBLE_WORST_FIRST = (
    "FAIL",
    "ERROR",
    "INVALID",
    "INCONCLUSIVE",
    "WAIVED",
    "SKIPPED",
    NOT_JUDGED,
)
"""What a cell says beside its counts, worst first."""

# Pytest's own letters where it has them.
LETTERS = {
    "FAIL": "F",
    "ERROR": "E",
    "INVALID": "V",
    "INCONCLUSIVE": "I",
    "WAIVED": "W",
    "SKIPPED": "s",
    NOT_JUDGED: "?",
}
_NOTHING = "-"
_BRIEF = "7: 7/7 passed"
_MOST_HEADER_LINES = 4


class Cell(NamedTuple):
    """How many of a group's requirements passed, of how many, and the worst of the others."""

    passed: int = 0
    claimed: int = 0
    trouble: str = ""

    def text(self, letters: bool, brief: bool = False) -> str:
        """``7/7``, ``5/7 FAIL``, or with ``letters`` ``5/7 F``; ``-`` for nothing claimed.

        With ``brief``, a number alone is one of requirements that all passed, and letters follow
        at once: ``5/7F``.
        """
        if not self.claimed:
            return _NOTHING
        counts = f"{self.passed}/{self.claimed}"
        if not self.trouble:
            return str(self.claimed) if brief else counts
        word = LETTERS[self.trouble] if letters else self.trouble.replace("_", " ")
        return f"{counts}{word}" if brief and letters else f"{counts} {word}"

    def plus(self, other: Cell) -> Cell:
        """Both cells in one."""
        return Cell(
            self.passed + other.passed,
            self.claimed + other.claimed,
            _worst_trouble((self.trouble, other.trouble)),
        )


class Row(NamedTuple):
    """One line of the table."""

    label: str
    cells: dict[str, Cell]

    @property
    def clean(self) -> bool:
        """Whether everything in it passed."""
        return not any(cell.trouble for cell in self.cells.values())


def rows_of(settled: Iterable[Judged], most: int = 0) -> list[Row]:
    """One row a model and deployment, in the order they appear.

    With more than ``most`` rows (0: no limit), the deployments of a model that all passed share
    one row, so that a long list of good news does not push the bad off the screen. What a server
    does not support is listed below the table and is no part of it.
    """
    by_place: dict[tuple[str, str], dict[str, Cell]] = {}
    for judged in settled:
        if judged.outcome == Outcome.UNSUPPORTED.value:
            continue
        place = (judged.claim.model, judged.claim.deployment if judged.claim.model else "")
        cells = by_place.setdefault(place, {})
        passed = judged.outcome == Outcome.PASS.value
        cell = Cell(int(passed), 1, "" if passed else judged.outcome)
        group = judged.group or "other"
        cells[group] = cells.get(group, Cell()).plus(cell)
    rows = {place: Row(place_of(*place), cells) for place, cells in by_place.items()}
    if not most or len(rows) <= most:
        return list(rows.values())
    folded: list[Row] = []
    for model in dict.fromkeys(model for model, _ in rows):
        its = [row for (name, _), row in rows.items() if name == model]
        if len(its) > 1 and all(row.clean for row in its):
            cells = {}
            for row in its:
                for group, cell in row.cells.items():
                    cells[group] = cells.get(group, Cell()).plus(cell)
            its = [Row(f"{model or HOST} ({len(its)} deployments)", cells)]
        folded += its
    return folded


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The groups that any row has, in the order of ``GROUPS``, others after them."""
    seen = dict.fromkeys(group for row in rows for group in row.cells)
    return [group for group in GROUPS if group in seen] + [g for g in seen if g not in GROUPS]


def table_lines(rows: Sequence[Row], width: int) -> tuple[list[str], bool]:
    """The table's lines, header first, and whether its cells needed letters for words.

    Headers stand over the beginning of their columns. Where the columns are narrower than the
    headers, those go down several lines in turn, so that none is cut or abbreviated. Where that
    is not enough, a cell in which all passed is one number, as the corner then says. A screen too
    narrow even so gets shorter labels, never fewer columns.
    """
    if not rows:
        return [], False
    columns = columns_of(rows)
    label_width = max(len(row.label) for row in rows)
    for letters, brief in ((False, False), (True, False), (True, True)):
        cells = [
            [row.cells.get(group, Cell()).text(letters, brief) for group in columns] for row in rows
        ]
        for header_lines in range(1, _MOST_HEADER_LINES + 1):
            widths = _widths(cells, columns, header_lines)
            if label_width + 2 + sum(widths) <= width:
                lines = _lay_out(rows, cells, columns, widths, label_width, header_lines, brief)
                return lines, letters
    label_width = max(len(_BRIEF), width - 2 - sum(widths))
    return _lay_out(rows, cells, columns, widths, label_width, header_lines, True), True


def clip(text: str, width: int) -> str:
    """``text``, its end replaced by ``…`` where it is longer than ``width``."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _worst_trouble(troubles: Iterable[str]) -> str:
    seen = set(troubles)
    return next((trouble for trouble in TROUBLE_WORST_FIRST if trouble in seen), "")


def _widths(cells: Sequence[Sequence[str]], columns: Sequence[str], header_lines: int) -> list[int]:
    """Width of each column with the space after it."""
    widths = [max(map(len, column)) + 1 for column in zip(*cells, strict=True)]
    for index, group in enumerate(columns):
        # A header may run on over the columns whose own headers are on other lines.
        room = widths[index : index + header_lines]
        missing = len(group) + 1 - sum(room)
        if missing > 0:
            widths[min(index + header_lines, len(columns)) - 1] += missing
    return widths


def _lay_out(
    rows: Sequence[Row],
    cells: Sequence[Sequence[str]],
    columns: Sequence[str],
    widths: Sequence[int],
    label_width: int,
    header_lines: int,
    brief: bool,
) -> list[str]:
    headers = [" " * (label_width + 2)] * min(header_lines, len(columns))
    if brief:
        headers[-1] = _BRIEF.ljust(label_width + 2)
    at = label_width + 2
    for index, (group, column_width) in enumerate(zip(columns, widths, strict=True)):
        line = index % len(headers)
        headers[line] = headers[line].ljust(at) + group
        at += column_width
    body = []
    for row, texts in zip(rows, cells, strict=True):
        line_text = clip(row.label, label_width).ljust(label_width) + "  "
        for text, column_width in zip(texts, widths, strict=True):
            line_text += text.ljust(column_width)
        body.append(line_text.rstrip())
    return [*headers, *body]
