"""``pytest-qwenvl fleet``: one run divided among the hosts of a Ray cluster."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from pytest_qwenvl.commands.exit_codes import code_of
from pytest_qwenvl.commands.printing import write_lines
from pytest_qwenvl.errors import UsageProblem


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    parser = commands.add_parser(
        "fleet",
        help="run a suite on many hosts, one deployment at a time, into one report",
        description="Run the deployments that pytest's arguments select on the nodes of a Ray "
        "cluster, dearest first, and join what they find into one report. What a node loses is run "
        "again elsewhere and never counted. Exit code: 0 CONFORMANT, 1 NON-CONFORMANT, 2 nothing "
        "was started, 3 PARTIAL.",
    )
    parser.add_argument(
        "--address",
        required=True,
        metavar="HOST:PORT",
        help="of the cluster's head, or auto for the cluster that this host is part of",
    )
    parser.add_argument(
        "--attempts",
        type=int,
        default=2,
        metavar="N",
        help="how often a deployment is run at most (default 2)",
    )
    parser.add_argument(
        "--cpu-resource",
        default="qwenvl_cpu_device",
        metavar="NAME",
        help="the resource that stands for virtual devices of the CPU backend, as nodes were "
        "started with: ray start --resources='{\"NAME\": 2}' (default qwenvl_cpu_device)",
    )
    parser.add_argument(
        "--durations",
        type=Path,
        action="append",
        default=[],
        metavar="REPORT",
        help="an earlier report to learn from how long deployments take; repeatable (default: the "
        "one in the report directory, else the profiles' estimates)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the fleet's run in the report directory: what had arrived is kept",
    )
    parser.add_argument(
        "arguments", nargs="*", metavar="-- ARGUMENT", help="what pytest would be given"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.attempts < 1:
        raise UsageProblem(f"--attempts {arguments.attempts}: needs 1 or more")
    from pytest_qwenvl.fleet.launching import FleetOptions, run_fleet
    from pytest_qwenvl.report.terminal import render_summary

    options = FleetOptions(
        address=arguments.address,
        arguments=tuple(arguments.arguments),
        attempts=arguments.attempts,
        cpu_resource=arguments.cpu_resource,
        durations=tuple(arguments.durations),
        resume=arguments.resume,
    )
    record, root = run_fleet(options, _show)
    width = shutil.get_terminal_size((80, 24)).columns
    write_lines(render_summary(record, width, report=root / "report.html"))
    return code_of(record.verdict)


def _show(place: str, text: str) -> None:
    write_lines([f"[{place}] {text}" if place else f"fleet: {text}"])
