"""What a process that runs tests tells the one that keeps the report, on pytest's own reports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_qwenvl.collection import planned_of, requirement_of
from pytest_qwenvl.failing import with_exchanges
from pytest_qwenvl.outcomes import SETUP_SECONDS, outcome_of, result_of
from pytest_qwenvl.recording import current, secrets_of, today
from pytest_qwenvl.report.evidence import Redactor
from pytest_qwenvl.report.junit import properties_of
from pytest_qwenvl.report.results import NotRun, Outcome, Undecided
from pytest_qwenvl.report.terminal import failure_text
from pytest_qwenvl.resume_items import CarriedItem, attach_carried
from pytest_qwenvl.resume_workers import keep_on_worker
from pytest_qwenvl.run import (
    WORKER_INPUT,
    catalogue_of,
    existing_engine_session,
    report_root,
    waivers_of,
)
from pytest_qwenvl.waivers import waive

_CLAIMS_SENT = pytest.StashKey[bool]()
_HELD_BACK = pytest.StashKey[list[NotRun]]()
_UNDECIDED = pytest.StashKey[list[Undecided]]()


def attach(item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
    """Put on a report what the controller is to know; all of it is plain JSON."""
    if report.when == "setup":
        item.stash[SETUP_SECONDS] = call.duration
    config = item.config
    carried = state_of(config, item.session.items)
    if isinstance(item, CarriedItem):
        carried |= attach_carried(item, report)
    elif requirement_of(item) is not None:
        result = result_of(item, report, call, catalogue_of(config))
        if result is not None:
            secrets = secrets_of(config)
            result = waive(result, waivers_of(config), today())
            result = with_exchanges(item, result, report_root(config), secrets)
            # Before anything leaves this process: JUnit and the screen show it too.
            result = Redactor(secrets).result(result)
            keep_on_worker(config, result)
            carried["result"] = result.model_dump(mode="json")
            carried["outcome"] = result.outcome.value
            properties = properties_of(result)
            report.user_properties += properties
            # JUnit takes them from the last phase's report, which is made from the item's.
            item.user_properties += properties
            if report.failed and call.excinfo is not None:
                requirement = catalogue_of(config)[result.requirement]
                # The request, the answer and the log say more than a traceback of the suite; of
                # the suite's own mistakes the traceback is what is needed.
                if outcome_of(report, call) is not Outcome.ERROR:
                    report.longrepr = failure_text(result, requirement)
            if result.outcome is Outcome.WAIVED:
                # As pytest's own expected failures: shown and counted, and no failure of the run.
                report.outcome = "skipped"
                report.wasxfail = result.waiver
    if carried:
        report.qwenvl = carried  # type: ignore[attr-defined]


def state_of(config: pytest.Config, items: list[pytest.Item]) -> dict[str, Any]:
    """What the controller is to know beside results, as JSON values; each thing once."""
    carried: dict[str, Any] = {}
    if not config.stash.get(_CLAIMS_SENT, False):
        config.stash[_CLAIMS_SENT] = True
        carried["claims"] = claims_of(items)
        carried["held_back"] = [it.model_dump() for it in config.stash.get(_HELD_BACK, [])]
        carried["undecided"] = [it.model_dump() for it in config.stash.get(_UNDECIDED, [])]
    engines = existing_engine_session(config)
    if engines is not None:
        for name, records in (("engines", engines.records.kept), ("lost", engines.not_run)):
            if records:
                carried[name] = [record.model_dump(mode="json") for record in records]
        if engines.notes:
            carried["notes"] = list(engines.notes)
        for told in (engines.records.kept, engines.not_run, engines.notes):
            told.clear()
    return carried


def keep_held_back(config: pytest.Config, entries: list[NotRun]) -> None:
    """Remember the deployments that the selection covers and the run cannot execute."""
    config.stash[_HELD_BACK] = entries
    recording = current()
    if recording is not None:
        recording.take_carried({"held_back": [it.model_dump() for it in entries]})


def keep_undecided(config: pytest.Config, entries: list[Undecided]) -> None:
    """Remember what the selection covers and an attached server cannot be asked."""
    config.stash[_UNDECIDED] = entries
    recording = current()
    if recording is not None:
        recording.take_carried({"undecided": [it.model_dump() for it in entries]})


def send_rest(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a worker that ends: hand over what went with no report."""
    config.workeroutput[WORKER_INPUT] = json.dumps(  # type: ignore[attr-defined]
        state_of(config, items)
    )


def claims_of(items: list[pytest.Item]) -> list[tuple[str, str, str]]:
    """(model, deployment, requirement) of everything that the run sets out to judge."""
    claims = []
    for item in items:
        requirement = requirement_of(item)
        if requirement is not None:
            planned = planned_of(item)
            model = planned.profile.name if planned else ""
            place = planned.deployment.name if planned else ""
            claims.append((model, place, requirement))
    return list(dict.fromkeys(claims))
