"""A run that continues an earlier one: how it begins, and what each of its processes knows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from pydantic import ValidationError

from pytest_qwenvl.collection import planned_of
from pytest_qwenvl.report.directory import REPORT_NAME, ReportDirectory
from pytest_qwenvl.report.results import EngineRecord, Requirement, Result, RunRecord
from pytest_qwenvl.resume_inputs import RunInputs, inputs_of_run
from pytest_qwenvl.resume_items import by_test, put_carried
from pytest_qwenvl.resume_record import carried_in, check_resumable, read_earlier
from pytest_qwenvl.resuming import Continuation, continue_run
from pytest_qwenvl.run import (
    catalogue_of,
    config_of,
    engine_session_of,
    is_worker,
    plan_of,
    report_root,
)

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from pytest_qwenvl.report.measurements import Measurements
    from pytest_qwenvl.waivers import Waiver

_OPENED = pytest.StashKey["Opened"]()
_CARRIED = pytest.StashKey["CarriedOverResults"]()


class Opened(NamedTuple):
    """The report directory of a run, and what the run goes on with.

    Attributes:
        directory: None keeps everything in memory.
        continuation: None for a run from the beginning.
    """

    directory: ReportDirectory | Path | None
    continuation: Continuation | None = None


@dataclass(frozen=True)
class CarriedOverResults:
    """What this process takes over from earlier runs.

    Attributes:
        results: by the node ids of their tests.
        continues: earlier runs whose results of a deployment are this run's too.
    """

    results: dict[str, Result] = field(default_factory=dict)
    continues: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def check_resume(config: pytest.Config) -> None:
    """Before anything else of a run begins: is there something to go on from?

    The directory of ``--resume`` is held from then on, so that its run is not under way.

    Raises:
        UsageProblem: there is not, or a run is writing there.
    """
    resume = config_of(config).resume
    if resume is not None:
        check_resumable(resume)
        config.stash[_OPENED] = Opened(ReportDirectory(resume, "--resume"))


def open_report(
    config: pytest.Config,
    inputs: RunInputs | None,
    requirements: Iterable[Requirement],
    waivers: Sequence[Waiver],
    today: datetime.date,
) -> Opened:
    """Where the run reports, and what it continues.

    Args:
        inputs: what its results will rest on; None for a run that keeps no report.

    Raises:
        UsageProblem: the record cannot be continued, or not by this run.
    """
    asked = config_of(config)
    opened = config.stash.get(_OPENED, Opened(asked.report_directory))
    if asked.resume is None or inputs is None:
        return opened
    assert isinstance(opened.directory, ReportDirectory)
    earlier = read_earlier(asked.resume)
    continuation = continue_run(earlier, inputs, requirements, waivers, today)
    opened.directory.keep_attempt(earlier.header.run_id)
    config.stash[_OPENED] = Opened(opened.directory, continuation)
    config.stash[_CARRIED] = CarriedOverResults(by_test(continuation.kept), continuation.continues)
    return config.stash[_OPENED]


def inputs_now(
    config: pytest.Config,
    scope: str,
    versions: Mapping[str, str],
    builds: Mapping[str, str],
    facts: Mapping[str, Any],
) -> RunInputs | None:
    """What this run's results rest on; None for one that keeps no report, which nobody resumes."""
    asked, plan = config_of(config), plan_of(config)
    if asked.report_directory is None:
        return None
    chosen = [f"--model={it}" for it in asked.models]
    return inputs_of_run(
        asked,
        plan,
        catalogue_of(config),
        config.rootpath,
        selection=" ".join([*chosen, scope]).strip(),
        engines=engine_session_of(config) if plan.endpoint is None else None,
        versions=versions,
        builds=builds,
        facts=facts,
    )


def header_of(opened: Opened, inputs: RunInputs | None) -> dict[str, Any]:
    """What the first line of ``results.jsonl`` says for a later run to go on from."""
    if inputs is None:
        return {}
    found: dict[str, Any] = {"inputs": inputs.model_dump(mode="json")}
    if opened.continuation is not None:
        continued = [it.model_dump(mode="json") for it in opened.continuation.continued]
        found |= {"continued": continued, "continues": opened.continuation.continues}
    return found


def with_continuation(record: RunRecord, opened: Opened) -> RunRecord:
    """The record of a run that is about to begin, with what it takes over."""
    continuation = opened.continuation
    if continuation is None or not isinstance(opened.directory, ReportDirectory):
        return record
    places = {(it.model, it.deployment) for it in continuation.kept}
    engines = [
        engine
        for engine in _engines_before(opened.directory.path)
        if (engine.model, engine.deployment) in places
    ]
    return record.model_copy(
        update={
            "continued": list(continuation.continued),
            "notes": [*record.notes, *continuation.notes],
            "engines": engines,
            "results": list(continuation.kept),
        }
    )


def carry_over(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put what is carried over in place of its tests, and let this process's engines know."""
    if config_of(config).resume is None:
        return
    carried = carried_over_of(config)
    put_carried(items, carried.results)
    if any(planned_of(item) for item in items):
        engine_session_of(config).continues = carried.continues


def carried_over_of(config: pytest.Config) -> CarriedOverResults:
    """What this process takes over; nothing in a run that continues none."""
    if _CARRIED not in config.stash:
        carried = CarriedOverResults()
        if is_worker(config) and config_of(config).resume is not None:
            header, results = carried_in(report_root(config))
            carried = CarriedOverResults(by_test(results), header.continues)
        config.stash[_CARRIED] = carried
    return config.stash[_CARRIED]


def carried_measurements_of(config: pytest.Config) -> Measurements:
    """Measurements that carried-over results keep: what else is judged from one needs no other."""
    from pytest_qwenvl.report.measurements import Measurements

    results = list(carried_over_of(config).results.values())
    return Measurements(RunRecord(suite_version="", run_id="", started=0.0, results=results))


def told_first(config: pytest.Config) -> list[str]:
    """What a person is told of the continuation before anything starts."""
    opened = config.stash.get(_OPENED, None)
    if opened is None or opened.continuation is None:
        return []
    return opened.continuation.lines()


def _engines_before(directory: Path) -> list[EngineRecord]:
    """Engines that the earlier run started, as far as its report tells: nothing rests on them."""
    try:
        content = json.loads((directory / REPORT_NAME).read_bytes())
        return [EngineRecord.model_validate(it) for it in content["engines"]]
    except (OSError, ValueError, ValidationError, LookupError, TypeError, RecursionError):
        return []
