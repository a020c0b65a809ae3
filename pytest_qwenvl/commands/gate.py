"""``pytest-qwenvl gate``: judge a stored report again, for a script that must decide."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.commands.exit_codes import code_of
from pytest_qwenvl.commands.printing import write_lines
from pytest_qwenvl.errors import UsageProblem

if TYPE_CHECKING:
    from pytest_qwenvl.report.results import RunRecord


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    parser = commands.add_parser(
        "gate",
        help="judge a stored report again, and exit 0 only where it is CONFORMANT",
        description="Recompute every verdict of a stored report from the measurements it keeps, "
        "without running anything. Exit code: 0 CONFORMANT, 1 NON-CONFORMANT, 2 a report that "
        "cannot be read, 3 PARTIAL.",
    )
    parser.add_argument("report", type=Path, metavar="REPORT", help="report.json, or its folder")
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="REPORT",
        help="an earlier report; what was measured must then be no worse than there",
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write a page for a pull request"
    )
    parser.add_argument(
        "--statement",
        type=Path,
        metavar="FILE",
        help="write an in-toto test-result statement over the digests of what was tested",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.report.gating import judge_again
    from pytest_qwenvl.report.reading import read_report

    baseline = read_report(arguments.baseline) if arguments.baseline else None
    regated = judge_again(read_report(arguments.report), baseline)
    run = regated.run
    if arguments.markdown:
        from pytest_qwenvl.report.markdown import render_markdown

        _write(arguments.markdown, render_markdown(run, regated.changes))
    if arguments.statement:
        from pytest_qwenvl.report.statement import statement_of

        _write(arguments.statement, json.dumps(statement_of(run), indent=2) + "\n")
    lines = [run.verdict_sentence, *(f"  {model.model}: {model.verdict.value}: {model.reason}"
             for model in run.model_verdicts if len(run.model_verdicts) > 1)]  # fmt: skip
    lines.append(f"{regated.judged} results judged again from what the report keeps")
    lines += [f"  {line}" for line in _measured(run)]
    if regated.changes:
        lines += ["otherwise than the report says:", *(f"  {change}" for change in regated.changes)]
    write_lines(lines)
    return code_of(run.verdict)


def _measured(run: RunRecord) -> Iterator[str]:
    from pytest_qwenvl.report.measurements import MEASUREMENT
    from pytest_qwenvl.report.verdict import first_line, place_of

    for result in run.results:
        if MEASUREMENT in result.evidence and "judgement" in result.evidence:
            place = place_of(result.model, result.deployment)
            sentence = first_line(str(result.evidence["judgement"]))
            yield f"{result.requirement} on {place}: {result.outcome.value}: {sentence}"


def _write(path: Path, text: str) -> None:
    from pytest_qwenvl.report.directory import replace_file

    try:
        replace_file(path, text)
    except OSError as error:
        raise UsageProblem(
            f"{path}: cannot be written: {error.strerror or error}; what was there before still is"
        ) from error
