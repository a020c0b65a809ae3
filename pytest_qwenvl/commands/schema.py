"""``pytest-qwenvl schema``: the JSON Schema of reports, and its check."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pytest_qwenvl.errors import UsageProblem

_FILE = Path("docs") / "report.schema.json"


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    parser = commands.add_parser(
        "schema",
        help="write docs/report.schema.json",
        description="Write the JSON Schema of report.json to docs/report.schema.json. Exit code: "
        "0, 1 where --check finds it out of date, 2 where it cannot be written.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; is it up to date?")
    parser.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="the checkout")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.report.directory import replace_file
    from pytest_qwenvl.report.schema import schema_text

    path: Path = arguments.root / _FILE
    text = schema_text()
    try:
        if not arguments.check:
            replace_file(path, text)
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{path}: out of date; run pytest-qwenvl schema\n")
            return 1
    except OSError as error:
        raise UsageProblem(f"{path}: {error.strerror or error}") from error
    return 0
