"""``pytest-qwenvl doctor``: what a host lacks, before anything is started on it."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_qwenvl.config import Config
    from pytest_qwenvl.planning import PlannedDeployment
    from pytest_qwenvl.preflight.examination import CheckOutcome
    from pytest_qwenvl.preflight.host import Host

_NOTHING_FOUND = 0
_FINDINGS = 1
_TAKEN = ("--model", "--profiles", "--backend", "--weights-root", "--engine-python")
_SHOWN = {"ok": "ok", "finding": "FINDING", "undecided": "unknown"}


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    from pytest_qwenvl.commands.plugins import add_plugin_option
    from pytest_qwenvl.options import OPTIONS

    parser = commands.add_parser(
        "doctor",
        help="say what this host lacks before anything is started",
        description="Check versions, driver, devices, weights and settings of this host without "
        "starting an engine. Exit code: 0 nothing found, 1 something was found or could not be "
        "told, 2 usage.",
    )
    for option in OPTIONS:
        if option.flag in _TAKEN:
            parser.add_argument(
                option.flag,
                action="append" if option.repeatable else "store",
                dest=option.field,
                metavar=option.metavar,
                help=option.help,
            )
    parser.add_argument(
        "--suite",
        type=Path,
        default=Path("conformance"),
        metavar="DIR",
        help="the folder of the suite, with catalogue, table and profiles (default: conformance)",
    )
    parser.add_argument(
        "--digests",
        action="store_true",
        help="compare weights with the digests they were published with; reads every byte",
    )
    add_plugin_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.catalogue import load_catalogue
    from pytest_qwenvl.extensions import plugins_outside_pytest
    from pytest_qwenvl.preflight.added import added_checks
    from pytest_qwenvl.preflight.examination import examine_all, look_at_host, subjects_of
    from pytest_qwenvl.preflight.table import load_table
    from pytest_qwenvl.profile_loading import load_profiles

    config = _config(arguments)
    catalogue = load_catalogue(arguments.suite / "requirements.toml")
    table = load_table(arguments.suite / "compatibility.toml")
    profiles = load_profiles(config.profile_directories)
    more = added_checks(plugins_outside_pytest(arguments.plugins), config)
    host = look_at_host(config)
    subjects = subjects_of(config, profiles, host)
    outcomes = examine_all(host, table, catalogue, subjects, digests=arguments.digests, more=more)
    if arguments.json:
        text = json.dumps(_as_json(host, subjects, outcomes), indent=2)
    else:
        width = shutil.get_terminal_size((100, 24)).columns
        text = "\n".join(_lines(host, subjects, outcomes, width))
    sys.stdout.write(f"{text}\n")
    return _NOTHING_FOUND if all(it.state == "ok" for it in outcomes) else _FINDINGS


def _config(arguments: argparse.Namespace) -> Config:
    from pytest_qwenvl.config import Config
    from pytest_qwenvl.options import OPTIONS

    values: dict[str, Any] = {}
    for option in OPTIONS:
        given = getattr(arguments, option.field, None) if option.flag in _TAKEN else None
        if given is not None:
            parsed = tuple(map(option.parse, given)) if option.repeatable else option.parse(given)
            values[option.field] = parsed
    own = (arguments.suite / "profiles",)
    values["profile_directories"] = own + values.get("profile_directories", ())
    return Config(**values)


def _lines(
    host: Host, subjects: Sequence[PlannedDeployment], outcomes: Sequence[CheckOutcome], width: int
) -> Iterator[str]:
    inventory = host.inventory
    models = list(dict.fromkeys(it.profile.name for it in subjects))
    devices = f"{len(inventory.devices)} {'cores' if inventory.backend == 'cpu' else 'NPUs'}"
    yield f"{inventory.backend} backend, {devices} ({inventory.chosen_because})"
    yield f"models: {', '.join(models) or 'none whose weights are at hand'}"
    yield ""
    for outcome in outcomes:
        line = f"{_SHOWN[outcome.state]:8}{outcome.requirement}  {outcome.title:24}"
        if outcome.state == "ok":
            line += outcome.seen
        yield line.rstrip() if len(line) <= width else f"{line[: width - 2].rstrip()} …"
        if outcome.state == "undecided":
            yield from _wrapped("why", outcome.seen, width)
        for finding, places in outcome.findings:
            yield from _wrapped("seen", finding.seen, width)
            yield from _wrapped("expected", finding.expected, width)
            yield from _wrapped("remedy", finding.remedy, width)
            if places and len(places) < len(subjects):
                yield from _wrapped("for", ", ".join(places), width)
    yield ""
    found = sum(len(it.findings) for it in outcomes)
    unknown = sum(it.state == "undecided" for it in outcomes)
    parts = [f"{found} finding{'s' * (found != 1)}" if found else "nothing found"]
    if unknown:
        parts.append(f"{unknown} of {len(outcomes)} checks could not tell")
    yield "; ".join(parts)


def _wrapped(label: str, text: str, width: int) -> list[str]:
    indent = " " * 8
    return textwrap.wrap(
        f"{indent}{label:10}{' '.join(text.split())}",
        max(width, 60),
        subsequent_indent=" " * 18,
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _as_json(
    host: Host, subjects: Sequence[PlannedDeployment], outcomes: Sequence[CheckOutcome]
) -> dict[str, Any]:
    return {
        "backend": host.inventory.backend,
        "hardware": host.inventory.hardware,
        "devices": len(host.inventory.devices),
        "deployments": [it.id for it in subjects],
        "checks": [
            {
                "requirement": it.requirement,
                "title": it.title,
                "state": it.state,
                "seen": it.seen,
                "findings": [
                    {
                        "requirement": finding.requirement,
                        "seen": finding.seen,
                        "expected": finding.expected,
                        "remedy": finding.remedy,
                        "for": list(places),
                    }
                    for finding, places in it.findings
                ],
            }
            for it in outcomes
        ],
    }
