"""``pytest-qwenvl merge``: one report of several hosts or runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pytest_qwenvl.commands.exit_codes import code_of
from pytest_qwenvl.commands.printing import write_lines
from pytest_qwenvl.errors import UsageProblem


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    parser = commands.add_parser(
        "merge",
        help="join the reports of several hosts or runs into one",
        description="Join reports of one version of the suite and of the engine, made on several "
        "hosts or in several runs, into one. The worst result of a requirement stands. Exit code: "
        "0 CONFORMANT, 1 NON-CONFORMANT, 2 reports that cannot be read or joined, 3 PARTIAL.",
    )
    parser.add_argument(
        "reports", type=Path, nargs="+", metavar="REPORT", help="report.json, or its folder"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="a folder for the joined report"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.report.directory import REPORT_NAME, replace_file
    from pytest_qwenvl.report.merging import merge
    from pytest_qwenvl.report.reading import read_report

    output: Path = arguments.output
    target = output / REPORT_NAME
    if target.exists():
        raise UsageProblem(f"--output {output}: there is a report already; give another folder")
    reports = [
        (path if path.is_dir() else path.parent, read_report(path)) for path in arguments.reports
    ]
    run = merge(reports, output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        replace_file(target, run.model_dump_json(indent=2))
    except OSError as error:
        raise UsageProblem(
            f"--output {output}: cannot be written: {error.strerror or error}; free some space, or "
            "give a folder that can be written"
        ) from error
    write_lines([run.verdict_sentence, f"report: {target}"])
    return code_of(run.verdict)
