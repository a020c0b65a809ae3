"""``pytest-qwenvl report``: the summary of a stored report."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from pytest_qwenvl.commands.exit_codes import (
    EXIT_CONFORMANT,
    EXIT_NON_CONFORMANT,
    EXIT_PARTIAL,
)


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    parser = commands.add_parser(
        "report",
        help="print the summary of a stored report",
        description="Print the summary of a stored report. Exit code: 0 CONFORMANT, "
        "1 NON-CONFORMANT, 2 a report that cannot be read, 3 PARTIAL.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="report.json, or its folder")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.report.reading import read_report
    from pytest_qwenvl.report.results import Verdict
    from pytest_qwenvl.report.terminal import render_summary

    run = read_report(arguments.file)
    width = shutil.get_terminal_size((80, 24)).columns
    try:
        for line in render_summary(run, width):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough; the verdict stays what it is. Python would
        # complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    codes = {
        Verdict.CONFORMANT: EXIT_CONFORMANT,
        Verdict.NON_CONFORMANT: EXIT_NON_CONFORMANT,
        Verdict.PARTIAL: EXIT_PARTIAL,
    }
    return codes[run.verdict]
