"""Join reports of several hosts or runs into one: all their claims, and no second chance (pure).

What one run failed stays failed, however often another passed it: the worst result of a claim
stands for it, as within one run. Only reports that speak of the same thing are joined.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.measurements import MEASUREMENT, Key, key_of, named_of_run
from pytest_qwenvl.report.results import Extension, NotRun, Result, RunRecord, WaiverRecord
from pytest_qwenvl.report.verdict import judge_run

# Versions of what runs the tests; all others are of what is judged.
_OF_THE_SUITE = frozenset({"pytest"})

T = TypeVar("T")


def merge(reports: Sequence[tuple[Path, RunRecord]], output: Path) -> RunRecord:
    """One judged record of several.

    Args:
        reports: each with the folder it was read from, to which its files are relative.
        output: the folder the merged report is meant for.

    Raises:
        UsageProblem: fewer than two, one of them twice, or reports that cannot be joined: another
            suite, catalogue, backend, endpoint, engine, or profile of a model.
    """
    if len(reports) < 2:
        raise UsageProblem("merge takes two reports or more; one needs no merging")
    return judge_run(join(reports, output))


def join(reports: Sequence[tuple[Path, RunRecord]], output: Path) -> RunRecord:
    """As :func:`merge`, of one report or more, and not judged yet: a fleet's says more first.

    Raises:
        UsageProblem: one of them twice, or reports that cannot be joined.
    """
    runs = [run for _, run in reports]
    _check(reports)
    repeated = _repeated_measurements(runs)
    results = [
        _moved(_renamed(result, run, repeated), folder, output)
        for folder, run in reports
        for result in run.results
    ]
    ids = [run.run_id for run in runs]
    ended = [run.finished for run in runs if run.finished is not None]
    first = runs[0]
    return first.model_copy(
        update={
            "run_id": "merged-" + hashlib.sha256(" ".join(ids).encode()).hexdigest()[:8],
            "started": min(run.started for run in runs),
            "finished": max(ended) if len(ended) == len(runs) else None,
            "complete": all(run.complete for run in runs),
            "exit_status": max(
                (run.exit_status for run in runs if run.exit_status is not None), default=None
            ),
            "interrupted": "; ".join(
                f"run {run.run_id}: {run.interrupted}" for run in runs if run.interrupted
            ),
            "argv": ("pytest-qwenvl", "merge", *(str(folder) for folder, _ in reports)),
            "scope": " + ".join(_each_once(run.scope for run in runs if run.scope)),
            "npus": max(run.npus for run in runs),
            "host": _hosts(runs),
            "versions": {name: its for run in runs for name, its in run.versions.items()},
            "profiles": {name: its for run in runs for name, its in run.profiles.items()},
            "planned": _each_once(claim for run in runs for claim in run.planned),
            "not_run": _not_run(runs),
            "undecided": _each_once(entry for run in runs for entry in run.undecided),
            "waivers": _waivers(runs),
            "engines": [engine for run in runs for engine in run.engines],
            "continued": [it for run in runs for it in run.continued],
            "notes": [f"run {run.run_id}: {note}" for run in runs for note in run.notes],
            "extensions": _extensions(runs),
            "results": results,
        }
    )


def _check(reports: Sequence[tuple[Path, RunRecord]]) -> None:
    (first_folder, first), *others = reports
    repeated = [name for name, n in Counter(run.run_id for _, run in reports).items() if n > 1]
    if repeated:
        raise UsageProblem(f"run {repeated[0]} is given twice; give each report once")
    same: list[tuple[str, Callable[[RunRecord], Any]]] = [
        ("suite version", lambda run: run.suite_version),
        ("catalogue version", lambda run: run.catalogue_version),
        ("backend", lambda run: run.backend),
        ("endpoint", lambda run: run.endpoint),
    ]
    for folder, run in others:
        for what, fact in same:
            if fact(run) != fact(first):
                raise UsageProblem(
                    f"{folder}: {what} {fact(run) or 'none'}, while {first_folder} has "
                    f"{fact(first) or 'none'}; one verdict cannot speak of both"
                )
        if run.requirements != first.requirements:
            raise UsageProblem(
                f"{folder}: its catalogue says otherwise than that of {first_folder}, though both "
                f"call it {run.catalogue_version or 'nothing'}; use one checkout of the suite"
            )
    _check_engines(reports)


def _check_engines(reports: Sequence[tuple[Path, RunRecord]]) -> None:
    versions: dict[str, tuple[str, Path]] = {}
    profiles: dict[str, tuple[Any, Path]] = {}
    for folder, run in reports:
        for name, version in run.versions.items():
            known, where = versions.setdefault(name, (version, folder))
            if known != version and name not in _OF_THE_SUITE:
                raise UsageProblem(
                    f"{folder}: {name} {version}, while {where} has {known}; a verdict is over one "
                    "engine (pytest-qwenvl compare shows two)"
                )
        for model, profile in run.profiles.items():
            other, where = profiles.setdefault(model, (profile, folder))
            if other != profile:
                differing = [key for key in profile if profile.get(key) != other.get(key)]
                raise UsageProblem(
                    f"{folder}: the profile {model} differs from that of {where} in "
                    f"{', '.join(differing) or 'what it lacks'}; judge both with one profile"
                )


def _each_once(values: Iterable[T]) -> list[T]:
    # Records are frozen and hold no tables here; a fleet's claims are tens of thousands.
    return list(dict.fromkeys(values))


def _hosts(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Facts that all hosts share, and each host's own where they do not."""
    first = runs[0].host
    shared = {
        name: value
        for name, value in first.items()
        if all(name in run.host and run.host[name] == value for run in runs)
    }
    if all(run.host == first for run in runs):
        return shared
    return {**shared, "hosts": {run.run_id: run.host for run in runs}}


def _extensions(runs: Sequence[RunRecord]) -> dict[str, Extension]:
    """What plugins added; what differs between two runs is named after its run."""
    found: dict[str, Extension] = {}
    for plugin in dict.fromkeys(plugin for run in runs for plugin in run.extensions):
        its = {run.run_id: run.extensions[plugin] for run in runs if plugin in run.extensions}
        first, *others = its.values()
        if all(other == first for other in others):
            found[plugin] = first
        else:
            found.update({f"{plugin} (run {run_id})": one for run_id, one in its.items()})
    return found


def _not_run(runs: Sequence[RunRecord]) -> list[NotRun]:
    """What no run executed: another host may have had the devices or the weights."""
    judged = {(result.model, result.deployment) for run in runs for result in run.results}
    models = {model for model, _ in judged}
    return [
        entry
        for entry in _each_once(entry for run in runs for entry in run.not_run)
        if ((entry.model, entry.deployment) not in judged if entry.deployment
            else entry.model not in models)
    ]  # fmt: skip


def _waivers(runs: Sequence[RunRecord]) -> list[WaiverRecord]:
    """Each waiver once; one that some run needed is not unneeded."""
    found: dict[tuple[str, str, str], WaiverRecord] = {}
    for waiver in (waiver for run in runs for waiver in run.waivers):
        key = (waiver.requirement, waiver.model, waiver.deployment)
        known = found.get(key)
        if known is not None:
            problem = waiver.problem and known.problem
            waiver = waiver.model_copy(
                update={"used": known.used + waiver.used, "problem": problem}
            )
        found[key] = waiver
    return list(found.values())


def _repeated_measurements(runs: Sequence[RunRecord]) -> set[Key]:
    keys = [key for run in runs for key in {key_of(result) for result in run.results} if key]
    return {key for key, n in Counter(keys).items() if n > 1}


def _renamed(result: Result, run: RunRecord, repeated: set[Key]) -> Result:
    """The result with its measurement named after its run, where several runs made it."""
    key = key_of(result)
    if key not in repeated:
        return result
    kept = result.evidence[MEASUREMENT]
    if isinstance(kept, dict):
        kept = {**kept, "name": named_of_run(str(kept.get("name")), run.run_id)}
    else:
        kept = named_of_run(kept, run.run_id)
    return result.model_copy(update={"evidence": {**result.evidence, MEASUREMENT: kept}})


def _moved(result: Result, folder: Path, output: Path) -> Result:
    """The result with the files of its exchanges where they lie, seen from the new report."""
    if not any(exchange.files for exchange in result.exchanges):
        return result
    exchanges = [
        exchange.model_copy(
            update={
                "files": tuple(os.path.relpath(folder / name, output) for name in exchange.files)
            }
        )
        for exchange in result.exchanges
    ]
    return result.model_copy(update={"exchanges": exchanges})
