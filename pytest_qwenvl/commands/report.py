"""``pytest-qwenvl report``: the summary of a stored report, and its page."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.commands.exit_codes import code_of
from pytest_qwenvl.errors import UsageProblem

if TYPE_CHECKING:
    from pytest_qwenvl.report.results import RunRecord

# What anything else wrote is not replaced: it may be the report itself.
_BEGINNING = b"<!doctype html>"


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    parser = commands.add_parser(
        "report",
        help="print the summary of a stored report, or draw its page",
        description="Print the summary of a stored report; with --html, draw its page too. Exit "
        "code: 0 CONFORMANT, 1 NON-CONFORMANT, 2 a report that cannot be read, 3 PARTIAL.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="report.json, or its folder")
    parser.add_argument(
        "--html",
        type=Path,
        metavar="PAGE",
        help="write the page here; pictures are taken from the folder that FILE lies in",
    )
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="REPORT",
        help="with --html: an earlier report, for scores and items that changed since",
    )
    parser.set_defaults(run=_run)


def _draw(run: RunRecord, arguments: argparse.Namespace) -> None:
    from pytest_qwenvl.report.directory import replace_file
    from pytest_qwenvl.report.html import render_page
    from pytest_qwenvl.report.reading import read_report

    page: Path = arguments.html
    baseline = read_report(arguments.baseline) if arguments.baseline is not None else None
    root = arguments.file if arguments.file.is_dir() else arguments.file.parent
    try:
        if page.exists() and (not page.is_file() or _BEGINNING not in page.read_bytes()[:64]):
            raise UsageProblem(f"--html {page}: is there and is no page; give another name")
        replace_file(page, render_page(run, root=root, baseline=baseline))
    except OSError as error:
        raise UsageProblem(
            f"--html {page}: cannot be written: {error.strerror}; give a file in a folder that can"
        ) from error


def _run(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.report.reading import read_report
    from pytest_qwenvl.report.terminal import render_summary

    run = read_report(arguments.file)
    if arguments.html is not None:
        _draw(run, arguments)
    elif arguments.baseline is not None:
        raise UsageProblem("--baseline is for the page; give --html PAGE too, or see gate, compare")
    width = shutil.get_terminal_size((80, 24)).columns
    try:
        for line in render_summary(run, width):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough; the verdict stays what it is. Python would
        # complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code_of(run.verdict)
