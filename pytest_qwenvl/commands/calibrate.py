"""``pytest-qwenvl calibrate``: a reference, and a floor, from repeated runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.errors import MeasurementError, UsageProblem

if TYPE_CHECKING:
    from pytest_qwenvl.measure.calibration import Reference
    from pytest_qwenvl.measure.lm_eval_result import Evaluation
    from pytest_qwenvl.report.measurements import Key
    from pytest_qwenvl.report.results import RunRecord

# Versions of what judges and not of what answers.
_NOT_THE_ENGINE = ("pytest", "lm_eval")


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    parser = commands.add_parser(
        "calibrate",
        help="make a reference, and a floor, of repeated runs",
        description="Make a reference record of the evaluations in at least five reports of a "
        "trusted engine: mean, spread, agreement of items, versions, and the floor that a profile "
        "may take from them. Exit code: 0, or 2 where the reports make no reference.",
    )
    parser.add_argument(
        "reports", type=Path, nargs="+", metavar="REPORT", help="report.json, or its folder"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write MODEL.TASK.HARNESS.json to this folder"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.report.reading import read_report

    runs = {path: read_report(path) for path in arguments.reports}
    references = references_of(runs)
    for reference in references:
        sys.stdout.write(_profile_lines(reference))
        if arguments.output is not None:
            _write(arguments.output, reference)
    return 0


def references_of(runs: Mapping[Path, RunRecord]) -> list[Reference]:
    """One reference for each evaluation that the reports have.

    Raises:
        UsageProblem: reports of different engines or hosts, a report twice, one whose evaluation
            cannot be judged, too few of them, or none with an evaluation.
    """
    from pytest_qwenvl.measure.accuracy_evidence import KINDS
    from pytest_qwenvl.measure.calibration import calibrate
    from pytest_qwenvl.report.measurements import Measurements

    found: dict[Key, dict[str, Evaluation]] = {}
    facts: dict[Key, dict[str, tuple[dict[str, str], str]]] = {}
    for path, run in runs.items():
        measurements = Measurements(run)
        for key in measurements:
            if key.kind not in KINDS:
                continue
            its = found.setdefault(key.alike, {})
            # In a merged report several runs have the same evaluation.
            run_id = run.run_id if key == key.alike else key.text.rpartition(" ")[2]
            if run_id in its:
                raise UsageProblem(f"{path}: run {run_id} is given twice; give each run once")
            try:
                its[run_id] = measurements[key]
            except MeasurementError as problem:
                raise UsageProblem(f"{path}: {key}: {problem}") from problem
            facts.setdefault(key.alike, {})[run_id] = (_engine(run), _host(run))
    if not found:
        raise UsageProblem("none of these reports keeps an evaluation; run -m accuracy")
    references = []
    for key, evaluations in found.items():
        (first_id, (versions, host)), *others = facts[key].items()
        for run_id, other in others:
            if other != (versions, host):
                raise UsageProblem(
                    f"{key}: run {run_id} is of {other}, run {first_id} of {(versions, host)}; a "
                    "reference is of one engine on one kind of host"
                )
        try:
            references.append(
                calibrate(
                    evaluations,
                    model=key.model,
                    deployment=key.deployment,
                    versions=versions,
                    host=host,
                )
            )
        except MeasurementError as problem:
            raise UsageProblem(f"{key}: {problem}") from problem
    return references


def _engine(run: RunRecord) -> dict[str, str]:
    return {name: its for name, its in run.versions.items() if name not in _NOT_THE_ENGINE}


def _host(run: RunRecord) -> str:
    devices = "virtual device" if run.backend == "cpu" else run.backend.upper()
    parts = [run.host.get("cpu"), run.host.get("architecture"), f"{run.npus} {devices}s"]
    return ", ".join(str(part) for part in parts if part)


def _profile_lines(reference: Reference) -> str:
    return (
        f"# {reference.model}/{reference.deployment}: mean {reference.mean:.4f}, spread "
        f"{reference.spread:.4f}, lowest {reference.lowest:.4f} of {len(reference.runs)} runs; "
        f"{len(reference.uneven)} of {reference.items} items differ between runs\n"
        "[[accuracy]]\n"
        f"task = {json.dumps(reference.task)}\n"
        f"harness = {json.dumps(reference.harness)}\n"
        f"floor = {reference.floor}\n"
        "calibrated = true\n"
        f"source = {json.dumps(reference.source)}\n"
    )


def _write(directory: Path, reference: Reference) -> None:
    from pytest_qwenvl.report.directory import replace_file

    path = directory / f"{reference.model}.{reference.task}.{reference.harness}.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        replace_file(path, reference.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be written: {error.strerror or error}") from error
    sys.stdout.write(f"# reference: {path}\n")
