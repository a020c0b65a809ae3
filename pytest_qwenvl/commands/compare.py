"""``pytest-qwenvl compare``: what changed from one report to another."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.commands.printing import write_lines

if TYPE_CHECKING:
    from pytest_qwenvl.report.comparison import Comparison

EXIT_NO_WORSE = 0
EXIT_WORSE = 1
EXIT_OPEN = 3
_MOST_CLAIMS = 20


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    parser = commands.add_parser(
        "compare",
        help="show what changed from one report to another",
        description="Show what changed from one stored report (BEFORE) to another (AFTER), and "
        "say why where they cannot be compared. Exit code: 0 no worse, 1 worse, 2 reports that "
        "cannot be read or have nothing in common, 3 something of BEFORE could not be compared.",
    )
    for name in ("before", "after"):
        parser.add_argument(
            name, type=Path, metavar=name.upper(), help="report.json, or its folder"
        )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.report.comparison import compare
    from pytest_qwenvl.report.reading import read_report

    found = compare(read_report(arguments.before), read_report(arguments.after))
    write_lines(_lines(found))
    if found.worse:
        return EXIT_WORSE
    return EXIT_OPEN if found.open else EXIT_NO_WORSE


def _lines(found: Comparison) -> Iterator[str]:
    before, after = found.before, found.after
    yield f"before: {before.run_id}: {before.verdict_sentence}"
    yield f"after:  {after.run_id}: {after.verdict_sentence}"
    for name, (old, new) in found.settings.items():
        yield f"  {name}: {_shown(old)} -> {_shown(new)}"
    for difference in found.differences:
        claim = difference.claim
        text = f"{claim}: {difference.before} -> {difference.after}"
        yield text + (f": {difference.reason}" if difference.worse and difference.reason else "")
    for compared in found.measured:
        verdict = {"PASS": "no change for the worse", "FAIL": "worse", "INVALID": "refused"}
        outcome = compared.judgement.outcome.value
        place = f"{compared.key.model}/{compared.key.deployment}"
        yield f"{place}: {verdict.get(outcome, 'cannot tell')}: {compared.judgement.sentence}"
    for key in found.unpaired:
        yield f"{key}: in one of the reports only, so not compared"
    for what, claims in (("before", found.gone), ("after", found.added)):
        if claims:
            shown = ", ".join(map(str, claims[:_MOST_CLAIMS]))
            more = len(claims) - _MOST_CLAIMS
            yield f"judged {what} only: {shown}" + (f" and {more} more" if more > 0 else "")
    if found.worse:
        yield "worse than before"
    elif found.open:
        yield "not proven worse; not everything could be compared"
    else:
        better = any(not it.worse for it in found.differences)
        yield "better, and nothing worse" if better else "no change"


def _shown(value: object) -> str:
    return "-" if value in (None, "") else str(value)
