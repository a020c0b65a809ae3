"""The fragments of a fleet as one report: what was proven, what was lost, what is missing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from pytest_qwenvl.fleet.child import JUNIT
from pytest_qwenvl.fleet.intake import FRAGMENTS
from pytest_qwenvl.fleet.ledger import Ledger
from pytest_qwenvl.fleet.request import FleetPlan
from pytest_qwenvl.fleet.state import FleetState
from pytest_qwenvl.report.directory import PAGE_NAME, REPORT_NAME, replace_file
from pytest_qwenvl.report.merging import join
from pytest_qwenvl.report.results import NotRun, RunRecord
from pytest_qwenvl.report.verdict import judge_run

MARKDOWN_NAME = "report.md"


def merged_record(
    root: Path,
    state: FleetState,
    plan: FleetPlan,
    backend: str,
    taken: Mapping[str, RunRecord],
    ledger: Ledger,
    *,
    not_run: Sequence[NotRun] = (),
    npus: int = 0,
    interrupted: str = "",
    complete: bool = True,
) -> RunRecord:
    """The judged record of a fleet's run, which claims all that was planned.

    Args:
        taken: the record of each deployment's fragment.
        not_run: deployments that no host ran.
        npus: devices held at once at most.

    Raises:
        UsageProblem: fragments that one verdict cannot speak of.
    """
    own = RunRecord(
        suite_version=plan.suite_version,
        catalogue_version=plan.catalogue_version,
        run_id=state.fleet,
        started=state.started,
        backend=backend,
        requirements=plan.requirements,
        profiles=plan.profiles,
    )
    record = own
    if taken:
        folders = {name: root / FRAGMENTS / name for name in taken}
        record = join(
            [(folders[name], _logs_moved(its, folders[name])) for name, its in taken.items()], root
        )
    claims = [text for its in plan.claims.values() for text in its]
    merged = record.model_copy(
        update={
            "run_id": state.fleet,
            "started": state.started,
            "finished": time.time() if complete else None,
            "complete": complete,
            "interrupted": interrupted,
            "argv": ("pytest-qwenvl", "fleet", "--", *state.arguments),
            "scope": plan.scope,
            "npus": max(npus, record.npus),
            "profiles": {**plan.profiles, **record.profiles},
            "planned": list(dict.fromkeys([*claims, *record.planned])),
            "not_run": list(dict.fromkeys([*plan.not_run, *not_run, *record.not_run])),
            "attempts": ledger.records,
            "notes": [*ledger.notes(), *record.notes],
        }
    )
    return judge_run(merged)


def write_report(root: Path, record: RunRecord, *, page: bool = True) -> None:
    """Write ``report.json``, and of a finished run its page and its Markdown; raises OSError."""
    replace_file(root / REPORT_NAME, record.model_dump_json(indent=2) + "\n")
    if not page:
        # An earlier page beside this report would show another.
        (root / PAGE_NAME).unlink(missing_ok=True)
        return
    from pytest_qwenvl.report.html import render_page
    from pytest_qwenvl.report.markdown import render_markdown

    replace_file(root / MARKDOWN_NAME, render_markdown(record))
    replace_file(root / PAGE_NAME, render_page(record, root=root))


def write_junit(root: Path, deployments: Sequence[str], path: Path) -> None:
    """Put the test suites of all fragments into one JUnit file; raises OSError."""
    suites = ElementTree.Element("testsuites", name="pytest-qwenvl fleet")
    for name in deployments:
        file = root / FRAGMENTS / name / JUNIT
        if file.is_file():
            for suite in ElementTree.parse(file).getroot().iter("testsuite"):
                suite.set("name", name)
                suites.append(suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, ElementTree.tostring(suites, encoding="unicode"))


def _logs_moved(record: RunRecord, folder: Path) -> RunRecord:
    """The record with its engines' logs where they lie now, not where the node had them."""
    return record.model_copy(
        update={
            "engines": [
                engine.model_copy(update={"log": _moved(engine.log, folder)})
                for engine in record.engines
            ]
        }
    )


def _moved(log: str, folder: Path) -> str:
    _, below, name = log.partition(f"{os.sep}report{os.sep}")
    return str(folder / name) if below and (folder / name).is_file() else log
