"""A whole host examined at once: every check that applies, over every model that was asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pytest_qwenvl.catalogue import Catalogue
from pytest_qwenvl.config import Config
from pytest_qwenvl.devices.holders import holdings
from pytest_qwenvl.devices.inventory import Inventory, take_inventory
from pytest_qwenvl.devices.locks import default_lock_directory
from pytest_qwenvl.engines.finding import find_interpreter
from pytest_qwenvl.errors import InconclusiveError, UsageProblem
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.preflight.checks import CHECKS, Check
from pytest_qwenvl.preflight.finding import Examined, Finding
from pytest_qwenvl.preflight.host import Host
from pytest_qwenvl.preflight.table import CompatibilityTable
from pytest_qwenvl.profile import ModelProfile
from pytest_qwenvl.profile_loading import select_profiles
from pytest_qwenvl.weights import find_weights


@dataclass(frozen=True)
class CheckOutcome:
    """What one check came to over every deployment it was made for.

    Attributes:
        state: ``ok``, ``finding``, or ``undecided`` when it could not tell, and found nothing.
        seen: what was looked at; for ``undecided`` why it could not tell.
        findings: each with the models and deployments it was found for, none for the host itself.
    """

    requirement: str
    title: str
    state: Literal["ok", "finding", "undecided"]
    seen: str
    findings: tuple[tuple[Finding, tuple[str, ...]], ...] = ()


def look_at_host(config: Config, environment: Mapping[str, str] | None = None) -> Host:
    """The host this process runs on, with what is wrong with its NPUs or interpreter in words.

    Raises:
        UsageProblem: ``--engine-python`` names no file.
    """
    environment = os.environ if environment is None else environment
    troubles: dict[str, str] = {}
    leased: frozenset[str] = frozenset()
    try:
        inventory, leased = devices_now(config.backend, environment)
    except UsageProblem as problem:
        inventory = Inventory("npu", (), (), None, "npu", "it has NPUs that cannot be listed")
        troubles["npus"] = str(problem)
    if config.engine_python is not None and not config.engine_python.exists():
        raise UsageProblem(f"--engine-python {config.engine_python}: no such file")
    try:
        interpreter = find_interpreter(config)
    except UsageProblem as problem:
        interpreter = None
        troubles["interpreter"] = str(problem).split(". One of these helps:")[0]
    return Host(inventory, interpreter, environment, leased, troubles=troubles)


def devices_now(
    backend: Literal["auto", "npu", "cpu"], environment: Mapping[str, str] | None = None
) -> tuple[Inventory, frozenset[str]]:
    """The devices as they are, and those of them that a run of a suite holds, or just held.

    Leases are looked at before and after: memory of one that ends or begins in between must not
    pass for somebody else's.

    Raises:
        UsageProblem: as ``take_inventory``.
    """
    before = _held()
    inventory = take_inventory(backend, environment)
    return inventory, before | _held()


def _held() -> frozenset[str]:
    directory = default_lock_directory()
    names = [path.name for path in directory.glob("npu*")]
    return frozenset(name for name, it in holdings(directory, names).items() if it.held)


def subjects_of(
    config: Config, profiles: Mapping[str, ModelProfile], host: Host
) -> list[PlannedDeployment]:
    """The deployments to examine: as a run chooses them, with weights whole or not.

    Raises:
        UsageProblem: a pattern that matches no profile, a ``--weights-root`` that is no folder.
    """
    asked = select_profiles(profiles, config.models) if config.models else profiles
    on_cpu = host.inventory.backend == "cpu" and config.backend != "cpu"
    chosen: list[tuple[ModelProfile, Path | None]] = []
    for profile in asked.values():
        place = find_weights(profile, config.weights_root, host.environment).location
        # A published model runs on the CPU only when that backend is written out.
        if config.models or (place is not None and (profile.reference or not on_cpu)):
            chosen.append((profile, place))
    if not config.models and any(not profile.reference for profile, _ in chosen):
        chosen = [(profile, place) for profile, place in chosen if not profile.reference]
    most = len(host.inventory.devices)
    return [
        PlannedDeployment(profile, deployment, place)
        for profile, place in chosen
        for deployment in profile.deployments
        if not most or deployment.npus <= most
    ]


def examine_all(
    host: Host,
    table: CompatibilityTable,
    catalogue: Catalogue,
    subjects: Sequence[PlannedDeployment],
    *,
    digests: bool = False,
    more: Mapping[str, Check] | None = None,
) -> list[CheckOutcome]:
    """Make every check that the catalogue says applies to this backend.

    Args:
        digests: also compare weights with their digests, which reads every byte of them.
        more: checks of plugins, made after the shipped ones; where the catalogue does not have
            their requirement they apply everywhere, to each deployment.
    """
    outcomes = []
    for requirement, check in {**CHECKS, **(more or {})}.items():
        entry = catalogue[requirement] if requirement in catalogue else None  # noqa: SIM401
        if entry is not None and host.inventory.backend not in entry.applies_to:
            continue
        options = {"digests": True} if digests and check.reads_weights else {}
        if check.of_deployment:
            chosen = (
                {one.profile.name: one for one in reversed(subjects)}
                if entry is not None and entry.per == "model"
                else {one.id: one for one in subjects}
            )
            made = [
                (name, _attempt(check.run, host, table, one, **options))
                for name, one in sorted(chosen.items())
            ]
        else:
            made = [("", _attempt(check.run, host, table))]
        if made:
            outcomes.append(_summed_up(requirement, check.title, made))
    return outcomes


def _attempt(run: Any, *arguments: Any, **options: Any) -> Examined | InconclusiveError:
    try:
        examined: Examined = run(*arguments, **options)
    except InconclusiveError as problem:
        return problem
    return examined


def _summed_up(
    requirement: str, title: str, made: list[tuple[str, Examined | InconclusiveError]]
) -> CheckOutcome:
    """One outcome of several: findings that are alike are told once."""
    found: dict[Finding, list[str]] = {}
    reasons: dict[str, None] = {}
    seen: dict[str, None] = {}
    for subject, result in made:
        if isinstance(result, InconclusiveError):
            reasons.setdefault(str(result))
            continue
        seen.setdefault(result.seen)
        for finding in result.findings:
            found.setdefault(finding, []).extend([subject] * bool(subject))
    state: Literal["ok", "finding", "undecided"] = "ok"
    if found:
        state = "finding"
    elif reasons:
        state = "undecided"
    return CheckOutcome(
        requirement,
        title,
        state,
        "; ".join(reasons if state == "undecided" else seen),
        tuple((finding, tuple(subjects)) for finding, subjects in found.items()),
    )
