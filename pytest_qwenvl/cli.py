"""``pytest-qwenvl``: programs that judge and check without running a test.

Exit codes, so that a script can tell verdicts apart: 0 CONFORMANT (or nothing to complain of),
1 NON-CONFORMANT (or a check that failed), 2 usage, 3 PARTIAL.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_qwenvl import __version__
from pytest_qwenvl.errors import UsageProblem

EXIT_CONFORMANT = 0
EXIT_NON_CONFORMANT = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except UsageProblem as problem:
        sys.stderr.write(f"pytest-qwenvl: {problem}\n")
        return EXIT_USAGE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pytest-qwenvl",
        description="Read conformance reports and check the catalogue of requirements.",
    )
    parser.add_argument("--version", action="version", version=f"pytest-qwenvl {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    report = commands.add_parser(
        "report",
        help="print the summary of a stored report",
        description="Print the summary of a stored report. Exit code: 0 CONFORMANT, "
        "1 NON-CONFORMANT, 2 a report that cannot be read, 3 PARTIAL.",
    )
    report.add_argument("file", type=Path, metavar="FILE", help="report.json, or its folder")
    report.set_defaults(run=_report)

    requirements = commands.add_parser(
        "requirements",
        help="write docs/requirements.md from the catalogue",
        description="Write docs/requirements.md from conformance/requirements.toml, after "
        "checking that each requirement has exactly one test and each test a requirement. "
        "Exit code: 0 all is well, 1 it is not, 2 a catalogue that cannot be read.",
    )
    requirements.add_argument(
        "--check", action="store_true", help="write nothing; fail if the page is out of date"
    )
    requirements.add_argument(
        "--root",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the folder that holds conformance/ and docs/ (default: here)",
    )
    requirements.set_defaults(run=_requirements)
    return parser


def _report(arguments: argparse.Namespace) -> int:
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


def _requirements(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.catalogue import (
        check_against_tests,
        find_tests,
        load_catalogue,
        render_markdown,
    )

    catalogue = load_catalogue(arguments.root / "conformance" / "requirements.toml")
    tests = find_tests(arguments.root / "conformance")
    problems = check_against_tests(catalogue, tests)
    page = arguments.root / "docs" / "requirements.md"
    text = render_markdown(catalogue, tests)
    if arguments.check:
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            problems.append(f"{page}: out of date; run pytest-qwenvl requirements")
    else:
        try:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageProblem(f"{page}: cannot be written: {error.strerror}") from error
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
