"""``pytest-qwenvl requirements``: the page of the catalogue, and its check."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pytest_qwenvl.errors import UsageProblem


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    parser = commands.add_parser(
        "requirements",
        help="write docs/requirements.md from the catalogue",
        description="Write docs/requirements.md from conformance/requirements.toml, after "
        "checking that each requirement has exactly one test and each test a requirement. "
        "Exit code: 0 all is well, 1 it is not, 2 a catalogue that cannot be read.",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if the page is out of date"
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the folder that holds conformance/ and docs/ (default: here)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
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
