"""How long deployments took in earlier runs (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pytest_qwenvl.fleet.placing import Job
from pytest_qwenvl.report.results import RunRecord


def learned_seconds(reports: Iterable[RunRecord]) -> dict[str, float]:
    """Seconds of each deployment, as the last of the reports that knows it tells.

    Of a fleet's report how long the attempt took that was taken; of another the sum of its tests
    and their set-up.
    """
    found: dict[str, float] = {}
    for run in reports:
        its: dict[str, float] = {}
        for result in run.results:
            if result.model and result.deployment:
                name = f"{result.model}/{result.deployment}"
                its[name] = its.get(name, 0.0) + result.duration + result.setup
        for attempt in run.attempts:
            if attempt.outcome == "taken":
                name = f"{attempt.model}/{attempt.deployment}"
                its[name] = attempt.ended - attempt.started
        found.update({name: seconds for name, seconds in its.items() if seconds > 0})
    return found


def with_durations(jobs: Iterable[Job], seconds: Mapping[str, float]) -> list[Job]:
    """The jobs with what is known of how long they take; the profile's estimate for the others."""
    return [replace(job, seconds=seconds.get(job.id, job.seconds)) for job in jobs]
