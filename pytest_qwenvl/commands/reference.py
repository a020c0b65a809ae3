"""``pytest-qwenvl reference``: the generated pages of the documentation, and their check."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pytest_qwenvl.errors import UsageProblem

_FOLDER = Path("docs") / "reference"


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    parser = commands.add_parser(
        "reference",
        help="write docs/reference from options, docstrings and schemas",
        description="Write the pages of docs/reference: options, fixtures, markers, hooks, "
        "commands, profiles and the report. Exit code: 0, 1 where --check finds a page out of "
        "date, 2 where they cannot be written.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; are they up to date?")
    parser.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="the checkout")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.reference import pages
    from pytest_qwenvl.report.directory import replace_file

    folder: Path = arguments.root / _FOLDER
    wanted = pages()
    problems = []
    try:
        for name, text in wanted.items():
            page = folder / name
            if not arguments.check:
                folder.mkdir(parents=True, exist_ok=True)
                replace_file(page, text)
            elif not page.is_file() or page.read_text(encoding="utf-8") != text:
                problems.append(f"{page}: out of date; run pytest-qwenvl reference")
        # A page that is written no more would tell of what is gone.
        for page in sorted(folder.glob("*.md")):
            if page.name not in wanted:
                problems.append(f"{page}: is not a page of the reference; remove it")
    except OSError as error:
        raise UsageProblem(f"{folder}: {error.strerror or error}") from error
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0
