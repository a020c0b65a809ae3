"""What a person sees at the end of a run: one screen, the verdict first.

The lines are plain text and made without any terminal; ``write_summary`` colours them through
pytest's own terminal reporter, which knows about ``--color``, ``NO_COLOR`` and pipes.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import NamedTuple, Protocol

from pytest_qwenvl.report.results import (
    NotRun,
    Requirement,
    Result,
    RunRecord,
    Undecided,
    Verdict,
)
from pytest_qwenvl.report.screen_text import (
    cut_to_fit,
    names_that_fit,
    screen_lines,
    wrapped,
)
from pytest_qwenvl.report.table import (
    LETTERS,
    TROUBLE_WORST_FIRST,
    clip,
    rows_of,
    table_lines,
)
from pytest_qwenvl.report.verdict import (
    NOT_JUDGED,
    Claim,
    Judged,
    first_line,
    place_of,
    settle,
)

HEIGHT = 24
"""Lines of the screen that the summary of a default run fits on."""

_MOST_TABLE_ROWS = 10
_FEWEST_PROBLEM_LINES = 5
_MOST_PROBLEM_LINES = 12
_MOST_NOT_RUN_LINES = 2
_MOST_NOTE_LINES = 2
_MOST_UNDECIDED_LINES = 5
_MOST_RESPONSE_LINES = 4
_COLOURS = {
    Verdict.CONFORMANT: "green",
    Verdict.PARTIAL: "yellow",
    Verdict.NON_CONFORMANT: "red",
}


class Terminal(Protocol):
    """The part of pytest's ``TerminalReporter`` that the summary is written with."""

    def write_line(self, line: str, **markup: bool) -> None:
        """Write one line, with markup such as ``red=True``."""


class Problem(NamedTuple):
    """One requirement and outcome, with every place where it came to that."""

    requirement: str
    outcome: str
    level: str
    places: tuple[str, ...]
    result: Result | None


def write_summary(
    run: RunRecord,
    terminal: Terminal,
    width: int,
    *,
    height: int = HEIGHT,
    report: Path | None = None,
    trouble: str = "",
) -> None:
    """Write the summary; the verdict in its colour, failing rows and requirements in red."""
    lines = render_summary(run, width, height=height, report=report, trouble=trouble)
    verdict_lines = len(_verdict_lines(run, width))
    for number, line in enumerate(lines):
        markup: dict[str, bool] = {}
        if number < verdict_lines:
            markup = {_COLOURS[run.verdict]: True, "bold": number == 0}
        elif line.startswith(("FAIL ", "waiver problem")):
            markup = {"red": True}
        elif line.startswith((*TROUBLE_WORST_FIRST, "not judged", "report problem")):
            markup = {"yellow": True}
        terminal.write_line(line, **markup)


def render_summary(
    run: RunRecord,
    width: int,
    *,
    height: int = HEIGHT,
    report: Path | None = None,
    trouble: str = "",
) -> list[str]:
    """The summary's lines: verdict, table, what went wrong, what was not run, where the rest is.

    Args:
        run: a judged record.
        width: columns of the screen. Only commands and paths may be longer: a cut one is of no
            use.
        height: lines of the screen. What went wrong gets what the table leaves of it, and
            enough for one requirement even where it leaves nothing.
        report: where the report lies, if anywhere: its page, or else ``report.json``.
        trouble: what kept the report from being written, if anything did.
    """
    claims = [Claim.parse(text) for text in run.planned]
    settled = settle(run.results, claims, run.requirements)
    lines = _verdict_lines(run, width)
    rows = rows_of(settled, most=_MOST_TABLE_ROWS)
    table, letters = table_lines(rows, width)
    before_table = len(lines)
    lines += table
    if letters and any(not row.clean for row in rows):
        used = {cell.trouble for row in rows for cell in row.cells.values()}
        words = [f"{LETTERS[t]} {t.replace('_', ' ')}" for t in TROUBLE_WORST_FIRST if t in used]
        lines.append(clip(", ".join(words), width))
    after = _unsupported_lines(settled, width) + _undecided_lines(run.undecided, width)
    after += _not_run_lines(run.not_run, width)
    after += _continued_lines(run, width)
    after += _note_lines(run.notes, width)
    after += [
        clip(f"waiver problem: {waiver.requirement} ({waiver.owner}): {waiver.problem}", width)
        for waiver in run.waivers
        if waiver.problem
    ]
    if trouble:
        after += textwrap.wrap(f"report problem: {trouble}", width, break_long_words=False)
    if report is not None:
        after.append(f"report: {report}")
    problems = problems_of(settled)
    fewest = _FEWEST_PROBLEM_LINES if problems else 0
    if table and screen_lines([*lines, *after], width) + fewest < height:
        lines.insert(before_table, "")
    if problems:
        room = height - screen_lines([*lines, *after], width) - 1
        if room >= _FEWEST_PROBLEM_LINES:
            lines.append("")
        room = min(max(room, _FEWEST_PROBLEM_LINES), _MOST_PROBLEM_LINES)
        lines += _problem_lines(problems, run.requirements, width, room)
    return lines + after


def problems_of(settled: list[Judged]) -> list[Problem]:
    """What did not pass, core before extended and worst first, one entry a requirement.

    What a server does not support is no problem, and is told apart from them.
    """
    found: dict[tuple[str, str], list[Judged]] = {}
    for judged in settled:
        if judged.outcome not in ("PASS", "UNSUPPORTED"):
            found.setdefault((judged.claim.requirement, judged.outcome), []).append(judged)
    problems = [
        Problem(
            requirement,
            outcome,
            its[0].level,
            tuple(place_of(one.claim.model, one.claim.deployment) for one in its),
            its[0].result,
        )
        for (requirement, outcome), its in found.items()
    ]
    order = TROUBLE_WORST_FIRST.index
    return sorted(problems, key=lambda p: (p.level != "core", order(p.outcome)))


def failure_text(
    result: Result, requirement: Requirement | None, *, width: int = 100, height: int = HEIGHT - 2
) -> str:
    """One requirement's failure on one screen: what must be, what was seen, how to see it again.

    The reason comes first and whole as far as it fits; the request in question and its answer
    follow; evidence and the engine's log share what is left. Commands always stand unbroken.

    Args:
        requirement: its entry of the catalogue; None when the catalogue lacks it.
        height: most lines.
    """
    place = place_of(result.model, result.deployment)
    head = [f"{result.outcome.value} {result.requirement} ({result.level}) on {place}"]
    if requirement is not None:
        head += wrapped(requirement.must, width, 3)
    tail = [f"reproduce: {result.reproduce}"] if result.reproduce else []
    asked: list[str] = []
    if result.exchanges:
        first = result.exchanges[0]
        asked = [f"request: {first.curl}"]
        asked += wrapped(f"response: {first.response}", width, _MOST_RESPONSE_LINES)
    room = height - len(head) - len(asked) - len(tail)
    reason = wrapped(result.reason or "no reason was given", width, max(2, room // 2))
    room -= len(reason)
    evidence = [
        clip(f"  {key}: {json.dumps(value, ensure_ascii=False)}", width)
        for key, value in result.evidence.items()
    ]
    log = [clip(f"  {line}", width) for line in result.log.rstrip().splitlines()]
    for_log = min(len(log) + 1, max(0, room - len(evidence) - 1, room // 2)) if log else 0
    shown_evidence = cut_to_fit("evidence:", evidence, room - for_log, keep_end=False)
    room -= len(shown_evidence)
    shown_log = cut_to_fit("the engine's log, last lines:", log, room, keep_end=True)
    return "\n".join([*head, *reason, *asked, *shown_evidence, *shown_log, *tail])


def _verdict_lines(run: RunRecord, width: int) -> list[str]:
    sentence = run.verdict_sentence or run.verdict.value
    lines = textwrap.wrap(sentence, width, break_on_hyphens=False) or [""]
    judged = {model.verdict for model in run.model_verdicts}
    if len(judged) > 1:
        each = ", ".join(f"{m.model} {m.verdict.value}" for m in run.model_verdicts)
        lines += wrapped(each, width, 2)
    return lines


def _problem_lines(
    problems: list[Problem], requirements: list[Requirement], width: int, room: int
) -> list[str]:
    musts = {requirement.id: requirement.must for requirement in requirements}
    lines: list[str] = []
    unjudged = [problem for problem in problems if problem.outcome == NOT_JUDGED]
    told = [problem for problem in problems if problem.outcome != NOT_JUDGED]
    room -= bool(unjudged)
    for number, problem in enumerate(told):
        block = _problem_block(problem, musts.get(problem.requirement, ""), width)
        rest = len(told) - number
        if lines and screen_lines(lines + block, width) > room - (rest > 1):
            names = ", ".join(dict.fromkeys(p.requirement for p in told[number:]))
            lines.append(clip(f"and {rest} more: {names}", width))
            break
        lines += block
    if unjudged:
        count = sum(len(problem.places) for problem in unjudged)
        names = ", ".join(problem.requirement for problem in unjudged)
        lines.append(clip(f"not judged: {count} claimed ({names})", width))
    return lines


def _problem_block(problem: Problem, must: str, width: int) -> list[str]:
    extended = " (extended)" if problem.level == "extended" else ""
    places = ", ".join(problem.places)
    if len(problem.places) > 2:
        places = f"{problem.places[0]} and {len(problem.places) - 1} more"
    head = f"{problem.outcome} {problem.requirement}{extended} on {places}"
    block = [clip(f"{head}: {must}" if must else head, width)]
    if problem.result is not None:
        if reason := first_line(problem.result.waiver or problem.result.reason):
            block.append(clip(f"  {reason}", width))
        if problem.result.reproduce:
            block.append(f"  reproduce: {problem.result.reproduce}")
    return block


def _unsupported_lines(settled: list[Judged], width: int) -> list[str]:
    names = dict.fromkeys(
        judged.claim.requirement for judged in settled if judged.outcome == "UNSUPPORTED"
    )
    if not names:
        return []
    return [clip(f"unsupported (extended): {names_that_fit(list(names), width - 24)}", width)]


def _undecided_lines(undecided: list[Undecided], width: int) -> list[str]:
    """By reason, the requirements first; a whole deployment is named where it stands alone."""
    by_reason: dict[str, list[str]] = {}
    for entry in undecided:
        name = entry.requirement or place_of(entry.model, entry.deployment)
        by_reason.setdefault(entry.reason, []).append(name)
    lines = []
    for reason, names in by_reason.items():
        head = f"undecided, {reason}: "
        lines.append(clip(head + names_that_fit(names, max(20, width - len(head))), width))
    if len(lines) > _MOST_UNDECIDED_LINES:
        kept = lines[: _MOST_UNDECIDED_LINES - 1]
        left = list(by_reason.values())[_MOST_UNDECIDED_LINES - 1 :]
        count = sum(len(names) for names in left)
        lines = [*kept, f"undecided: {count} more, for {len(left)} other reasons (see the report)"]
    return lines


def _not_run_lines(not_run: list[NotRun], width: int) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for entry in not_run:
        by_reason.setdefault(entry.reason, []).append(place_of(entry.model, entry.deployment))
    lines = [
        clip(f"not run: {names_that_fit(names, width // 2)}: {first_line(reason)}", width)
        for reason, names in by_reason.items()
    ]
    if len(lines) > _MOST_NOT_RUN_LINES:
        kept = lines[: _MOST_NOT_RUN_LINES - 1]
        left = list(by_reason.values())[_MOST_NOT_RUN_LINES - 1 :]
        count = sum(len(names) for names in left)
        lines = [*kept, f"not run: {count} more, for {len(left)} other reasons (see the report)"]
    return lines


def _continued_lines(run: RunRecord, width: int) -> list[str]:
    """How much of a resumed run's results is another run's work."""
    if not run.continued:
        return []
    kept = sum(result.carried_over is not None for result in run.results)
    runs = "run" if len(run.continued) == 1 else "runs"
    names = ", ".join(it.run_id for it in run.continued)
    text = f"carried over: {kept} of {len(run.results)} results, from {runs} {names}"
    return [clip(text, width)]


def _note_lines(notes: list[str], width: int) -> list[str]:
    # A quarantine says that something is wrong with the host; it comes before what was passed over.
    ordered = sorted(notes, key=lambda note: "quarantined" not in note)
    lines = [clip(f"note: {first_line(note)}", width) for note in ordered[:_MOST_NOTE_LINES]]
    if len(notes) > _MOST_NOTE_LINES:
        lines[-1] = f"note: {len(notes) - _MOST_NOTE_LINES + 1} more (see the report)"
    return lines
