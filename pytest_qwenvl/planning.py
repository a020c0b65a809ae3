"""Which deployments a run executes, in what order, and what is left out and why (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_qwenvl.config import Config
from pytest_qwenvl.devices.choosing import devices_held
from pytest_qwenvl.devices.inventory import Inventory
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.nearest import nearest
from pytest_qwenvl.profile import Deployment, ModelProfile
from pytest_qwenvl.profile_loading import select_profiles
from pytest_qwenvl.report.results import NotRun
from pytest_qwenvl.weights import FoundWeights

ANY = "any"
"""An inventory's hardware that stands for hosts of every generation, as those of a fleet are."""


@dataclass(frozen=True)
class PlannedDeployment:
    """One deployment of one model that this run executes.

    Attributes:
        added: what plugins added to its settings: (argument or variable, plugin) each.
    """

    profile: ModelProfile
    deployment: Deployment
    weights: Path | None
    added: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """How tests are parametrised: ``qwen3-vl-8b-instruct/serve-1npu``."""
        return f"{self.profile.name}/{self.deployment.name}"


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        npus: most devices the run holds at once.
        deployments: in the order in which they run: per model offline before serve, so that a
            served answer can be compared with an offline one; dearest model first.
        not_run: models that were left out, and why.
        elsewhere: the other deployments of the models of ``--deployment``. Another run decides
            what they decide, which this one needs to know to be no more than its part.
        held_back: deployments that the run was asked for and cannot execute, and why. Where its
            selection would have covered one, it keeps the verdict from being CONFORMANT.
    """

    inventory: Inventory
    npus: int
    deployments: tuple[PlannedDeployment, ...]
    not_run: tuple[NotRun, ...] = ()
    held_back: tuple[tuple[PlannedDeployment, str], ...] = ()
    elsewhere: tuple[PlannedDeployment, ...] = ()
    endpoint: str | None = None
    profiles: tuple[ModelProfile, ...] = field(default=())


def make_plan(
    config: Config,
    profiles: Mapping[str, ModelProfile],
    inventory: Inventory,
    find: Callable[[ModelProfile], FoundWeights],
) -> Plan:
    """Turn what was asked for into deployments.

    Raises:
        UsageProblem: more devices than there are; a model asked for by name whose weights are
            not at hand or broken; nothing to run at all.
    """
    if config.endpoint is not None:
        return _attached(config, profiles, inventory, find)
    npus = _allowed_npus(config, inventory)
    chosen, not_run = _choose(config, profiles, inventory, find)
    planned: list[PlannedDeployment] = []
    elsewhere: list[PlannedDeployment] = []
    held_back: list[tuple[PlannedDeployment, str]] = []
    _check_known(config.deployments, chosen)
    for profile, weights in chosen:
        for deployment in profile.deployments:
            one = PlannedDeployment(profile, deployment, weights)
            if config.deployments and one.id not in config.deployments:
                elsewhere.append(one)
                continue
            if deployment.hardware and inventory.hardware not in (*deployment.hardware, ANY):
                wanted = " or ".join(deployment.hardware)
                held_back.append((one, f"is for {wanted}; this host has {inventory.hardware}"))
                continue
            held = devices_held(
                deployment.npus,
                deployment.exclusive,
                inventory.npus,
                len(inventory.devices),
            )
            if held > npus:
                whole = f", those of its {deployment.exclusive} that stay empty included"
                why = whole if held > deployment.npus else ""
                reason = f"needs {held} NPUs{why}; this run may hold {npus} (--npus)"
                held_back.append((one, reason))
            else:
                planned.append(one)
    return Plan(
        inventory=inventory,
        npus=npus,
        deployments=tuple(_in_order(planned)),
        not_run=tuple(not_run),
        held_back=tuple(held_back),
        elsewhere=tuple(elsewhere),
        profiles=tuple(profile for profile, _ in chosen),
    )


def offline_partner(plan: Plan, served: PlannedDeployment) -> PlannedDeployment | None:
    """The offline deployment of the same model on as many devices, if the whole run has one."""
    for one in (*plan.deployments, *plan.elsewhere):
        if (one.profile.name, one.deployment.mode, one.deployment.npus) == (
            served.profile.name,
            "offline",
            served.deployment.npus,
        ):
            return one
    return None


def chosen_models(config: Config) -> tuple[str, ...]:
    """The models asked for by name or glob: those of ``--deployment``, else of ``--model``."""
    return tuple(name.partition("/")[0] for name in config.deployments) or config.models


def _check_known(asked: Sequence[str], chosen: Sequence[tuple[ModelProfile, Path]]) -> None:
    known = [f"{profile.name}/{it.name}" for profile, _ in chosen for it in profile.deployments]
    for name in asked:
        if name not in known:
            raise UsageProblem(f"--deployment {name}: no such deployment{nearest(name, known)}")


def _allowed_npus(config: Config, inventory: Inventory) -> int:
    visible = len(inventory.devices)
    if config.npus is None:
        return visible
    if config.npus > visible:
        kind = "virtual devices (one a core)" if inventory.backend == "cpu" else "NPUs"
        raise UsageProblem(
            f"--npus {config.npus}: this host has {visible} visible {kind}; ask for at most "
            f"{visible}"
        )
    return config.npus


def _choose(
    config: Config,
    profiles: Mapping[str, ModelProfile],
    inventory: Inventory,
    find: Callable[[ModelProfile], FoundWeights],
) -> tuple[list[tuple[ModelProfile, Path]], list[NotRun]]:
    models = chosen_models(config)
    asked = select_profiles(profiles, models) if models else dict(profiles)
    by_name = {name for name in models if name in profiles}
    usable: list[tuple[ModelProfile, Path]] = []
    not_run: list[NotRun] = []
    for profile in asked.values():
        found = find(profile)
        if inventory.backend == "cpu" and not profile.reference and config.backend != "cpu":
            reason = "a published model runs on the CPU only when --backend cpu is written out"
            if profile.name in by_name:
                raise UsageProblem(f"--model {profile.name}: no NPU on this host; {reason}")
        elif found.location is not None and not found.problem:
            usable.append((profile, found.location))
            continue
        elif profile.name in by_name:
            raise UsageProblem(
                f"--model {profile.name}: {found.reason}; point --weights-root at the folder "
                f"that holds {profile.weights.huggingface or profile.name}"
            )
        else:
            reason = found.reason
        not_run.append(NotRun(model=profile.name, reason=reason))
    if not models and any(not profile.reference for profile, _ in usable):
        references = [profile for profile, _ in usable if profile.reference]
        usable = [(profile, path) for profile, path in usable if not profile.reference]
        not_run += [
            NotRun(model=it.name, reason="a reference; not needed beside published models")
            for it in references
        ]
    if not usable:
        reasons = "\n".join(f"  {it.model}: {it.reason}" for it in not_run)
        raise UsageProblem(f"no model to run; of the profiles asked for:\n{reasons}")
    return usable, not_run


def _in_order(planned: list[PlannedDeployment]) -> list[PlannedDeployment]:
    def cost(one: PlannedDeployment) -> float:
        return one.deployment.npus * one.deployment.estimated_seconds

    totals: dict[str, float] = {}
    for one in planned:
        totals[one.profile.name] = totals.get(one.profile.name, 0.0) + cost(one)

    def key(one: PlannedDeployment) -> tuple[float, str, bool, float, str]:
        name = one.profile.name
        return (-totals[name], name, one.deployment.mode == "serve", -cost(one), one.id)

    return sorted(planned, key=key)


def _attached(
    config: Config,
    profiles: Mapping[str, ModelProfile],
    inventory: Inventory,
    find: Callable[[ModelProfile], FoundWeights],
) -> Plan:
    """The one deployment that an attached server is held to, and those it leaves undecided.

    ``--model PROFILE/DEPLOYMENT`` says which; ``--model PROFILE`` takes the served one on the
    fewest devices. Weights, where they are at hand, only give measuring programs a tokenizer.
    """
    patterns = tuple(pattern.partition("/")[0] for pattern in config.models)
    chosen = select_profiles(profiles, patterns) if patterns else {}
    if len(chosen) != 1 or len({*config.models}) != 1:
        raise UsageProblem(
            "--endpoint needs exactly one --model, so that the suite knows what the server must "
            f"do; matched: {', '.join(chosen) or 'none'}"
        )
    (profile,) = chosen.values()
    served = {it.name: it for it in profile.deployments if it.mode == "serve"}
    if not served:
        raise UsageProblem(f"--model {profile.name}: has no served deployment to hold it to")
    name = config.models[0].partition("/")[2]
    if name and name not in served:
        raise UsageProblem(
            f"--model {config.models[0]}: {profile.name} has no served deployment {name!r}; "
            f"there are: {', '.join(served)}"
        )
    deployment = served[name] if name else min(served.values(), key=lambda it: it.npus)
    found = find(profile)
    weights = None if found.problem else found.location
    held_back = [
        (
            PlannedDeployment(profile, it, None),
            f"the server is held to {deployment.name} alone"
            if it.mode == "serve"
            else "needs a start by this run",
        )
        for it in profile.deployments
        if it is not deployment
    ]
    return Plan(
        inventory=inventory,
        npus=0,
        deployments=(PlannedDeployment(profile, deployment, weights),),
        held_back=tuple(held_back),
        endpoint=config.endpoint,
        profiles=(profile,),
    )
