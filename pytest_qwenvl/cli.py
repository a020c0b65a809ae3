"""``pytest-qwenvl``: programs that judge and check without running a test.

Exit codes, so that a script can tell verdicts apart: 0 CONFORMANT (or nothing to complain of),
1 NON-CONFORMANT (or a check that failed), 2 usage, 3 PARTIAL.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pytest_qwenvl import __version__
from pytest_qwenvl.commands import (
    calibrate,
    compare,
    devices,
    doctor,
    explain,
    fleet,
    gate,
    merge,
    reference,
    report,
    requirements,
    schema,
)
from pytest_qwenvl.commands.exit_codes import EXIT_USAGE
from pytest_qwenvl.errors import UsageProblem

# In the order in which --help lists them. Each adds its parser and imports nothing heavy before
# it is run.
COMMANDS = (
    devices,
    doctor,
    explain,
    fleet,
    report,
    gate,
    compare,
    merge,
    calibrate,
    requirements,
    schema,
    reference,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="pytest-qwenvl",
        description="Look at hosts, profiles and conformance reports without running a test.",
    )
    parser.add_argument("--version", action="version", version=f"pytest-qwenvl {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except UsageProblem as problem:
        sys.stderr.write(f"pytest-qwenvl: {problem}\n")
        return EXIT_USAGE
    return code


if __name__ == "__main__":
    sys.exit(main())
