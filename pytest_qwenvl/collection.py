"""From a plan to pytest items: parametrise by deployment, order the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.planning import Plan, PlannedDeployment
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.profile_latency import LatencyWorkload, OfflineBench
from pytest_qwenvl.report.results import NotRun

if TYPE_CHECKING:
    from pytest_qwenvl.catalogue import Catalogue

# Cheapest first within a deployment; a group that is not listed comes before the measuring ones.
GROUP_ORDER = (
    "environment",
    "offline",
    "serve",
    "openai",
    "streaming",
    "multi_image",
    "images",
    "grounding",
    "video",
    "robustness",
    "security",
    "latency",
    "accuracy",
    "consistency",
    "soak",
)


def parametrize(metafunc: pytest.Metafunc, plan: Plan) -> None:
    """Give a test that asks for ``deployment`` one instance for each deployment it applies to.

    ``server`` restricts it to served deployments, ``offline_llm`` to offline ones,
    ``accuracy_floor`` to (profile, floor) pairs (of the mode that ``deployment_mode`` says),
    ``latency_workload`` to workloads and ``offline_bench`` to what ``vllm bench`` measures offline.
    """
    names = metafunc.fixturenames
    if "accuracy_floor" in names:
        marker = metafunc.definition.get_closest_marker("deployment_mode")
        modes_of_floors = set(marker.args) if marker else {"offline", "serve"}
        rows = [row for row in _floors(plan) if row[0].deployment.mode in modes_of_floors]
        _set(metafunc, "accuracy_floor", rows, plan)
    elif "latency_workload" in names:
        _set(metafunc, "latency_workload", _workloads(plan), plan)
    elif "offline_bench" in names:
        _set(metafunc, "offline_bench", _offline_benches(plan), plan)
    else:
        modes = {"server": "serve", "offline_llm": "offline"}
        wanted = {mode for fixture, mode in modes.items() if fixture in names}
        marker = metafunc.definition.get_closest_marker("deployment_mode")
        wanted |= set(marker.args) if marker else set()
        marker = metafunc.definition.get_closest_marker("npus")
        count = marker.args[0] if marker else None
        chosen = [
            one
            for one in _all(plan)
            if (not wanted or {one.deployment.mode} == wanted)
            and (count is None or one.deployment.npus == count)
        ]
        _set(metafunc, None, [(one, one.id, None) for one in chosen], plan)


def _all(plan: Plan) -> list[PlannedDeployment]:
    """Held back ones too: whether a selection would have covered them, only pytest can say.

    And those that run elsewhere, which decide what is left for this part of the run.
    """
    return [*plan.deployments, *(one for one, _ in plan.held_back), *plan.elsewhere]


def _set(
    metafunc: pytest.Metafunc,
    extra: str | None,
    rows: list[tuple[PlannedDeployment, str, Any]],
    plan: Plan,
) -> None:
    reasons = {one.id: reason for one, reason in plan.held_back}
    elsewhere = {one.id for one in plan.elsewhere}
    parameters = []
    for one, name, value in rows:
        values = [one, value] if extra else [one]
        marks = [pytest.mark.qwenvl_held_back(reasons[one.id])] if one.id in reasons else []
        marks += [pytest.mark.qwenvl_elsewhere] if one.id in elsewhere else []
        parameters.append(pytest.param(*values, marks=marks, id=name))
    if not rows:
        nothing = [None, None] if extra else [None]
        parameters = [pytest.param(*nothing, marks=[pytest.mark.qwenvl_unplanned], id="none")]
    names = ["deployment", extra] if extra else ["deployment"]
    metafunc.parametrize(names, parameters, indirect=["deployment"], scope="session")


def _floors(plan: Plan) -> list[tuple[PlannedDeployment, str, AccuracyFloor]]:
    return [
        (one, f"{one.id}/{floor.task}", floor)
        for one in _all(plan)
        for floor in one.profile.accuracy
        if floor.deployment == one.deployment.name
    ]


def _workloads(plan: Plan) -> list[tuple[PlannedDeployment, str, LatencyWorkload]]:
    return [
        (one, f"{one.id}/{workload.name}", workload)
        for one in _all(plan)
        for workload in one.profile.latency
        if workload.deployment == one.deployment.name
    ]


def _offline_benches(plan: Plan) -> list[tuple[PlannedDeployment, str, OfflineBench]]:
    return [
        (one, f"{one.id}/{bench.program}", bench)
        for one in _all(plan)
        for bench in one.profile.offline_bench
        if bench.deployment == one.deployment.name
    ]


def planned_of(item: pytest.Item) -> PlannedDeployment | None:
    """The deployment an item was parametrised with."""
    callspec = getattr(item, "callspec", None)
    value = callspec.params.get("deployment") if callspec else None
    return value if isinstance(value, PlannedDeployment) else None


def requirement_of(item: pytest.Item) -> str | None:
    """The id of the requirement an item decides.

    Raises:
        UsageProblem: a ``requirement`` marker without exactly one id.
    """
    marker = item.get_closest_marker("requirement")
    if marker is None:
        return None
    if len(marker.args) != 1 or marker.kwargs:
        raise UsageProblem(f"{item.nodeid}: requirement() takes one id, such as 'QVL-SRV-001'")
    return str(marker.args[0])


def drop(items: list[pytest.Item], marker: str) -> list[pytest.Item]:
    """Remove, and return, the items with ``marker``."""
    dropped = [item for item in items if item.get_closest_marker(marker)]
    items[:] = [item for item in items if not item.get_closest_marker(marker)]
    return dropped


def narrow_smoke(items: list[pytest.Item]) -> None:
    """Keep the ``smoke`` mark on each model's smallest deployments only, before -m looks at it."""
    smallest: dict[str, int] = {}
    for planned in filter(None, map(planned_of, items)):
        name, npus = planned.profile.name, planned.deployment.npus
        smallest[name] = min(npus, smallest.get(name, npus))
    for item in items:
        its = planned_of(item)
        if its is not None and its.deployment.npus > smallest[its.profile.name]:
            item.own_markers[:] = [mark for mark in item.own_markers if mark.name != "smoke"]


def decide_once(items: list[pytest.Item], catalogue: Catalogue) -> list[pytest.Item]:
    """Remove, and return, what a smaller deployment of the model decides as well.

    For requirements that are decided per model; after -m and -k, so that whatever a person
    selects is decided by the smallest deployment that is left.
    """

    def decides(item: pytest.Item) -> tuple[str, str] | None:
        requirement, planned = requirement_of(item), planned_of(item)
        if requirement is None or planned is None or catalogue[requirement].per != "model":
            return None
        return requirement, planned.profile.name

    smallest: dict[tuple[str, str], PlannedDeployment] = {}
    for item in items:
        key, planned = decides(item), planned_of(item)
        if key and planned:
            known = smallest.setdefault(key, planned)
            if planned.deployment.npus < known.deployment.npus:
                smallest[key] = planned
    dropped = [it for it in items if (key := decides(it)) and planned_of(it) is not smallest[key]]
    gone = set(dropped)
    items[:] = [item for item in items if item not in gone]
    return dropped


def drop_inapplicable(
    items: list[pytest.Item], catalogue: Catalogue, backend: str
) -> list[pytest.Item]:
    """Remove, and return, the items whose requirement has no meaning on this backend.

    Such a requirement is not claimed: a host without NPUs neither has nor lacks a driver.
    """

    def applies(item: pytest.Item) -> bool:
        requirement = requirement_of(item)
        return requirement is None or backend in catalogue[requirement].applies_to

    dropped = [item for item in items if not applies(item)]
    items[:] = [item for item in items if applies(item)]
    return dropped


def drop_comparisons(items: list[pytest.Item], catalogue: Catalogue) -> list[pytest.Item]:
    """Remove, and return, the items that compare with a baseline, for a run that has none.

    Such a requirement is not claimed: without an earlier run there is nothing to be no worse than.
    """
    from pytest_qwenvl.catalogue import COMPARING

    def compares(item: pytest.Item) -> bool:
        requirement = requirement_of(item)
        return requirement is not None and catalogue[requirement].judge in COMPARING

    dropped = [item for item in items if compares(item)]
    items[:] = [item for item in items if not compares(item)]
    return dropped


def drop_soaks(items: list[pytest.Item]) -> list[pytest.Item]:
    """Remove, and return, the items of the group soak, for a run without ``--soak``.

    Raises:
        UsageProblem: nothing else was selected.
    """
    dropped = [item for item in items if item.get_closest_marker("soak")]
    if dropped and len(dropped) == len(items):
        raise UsageProblem(
            "only tests of the group soak are selected, and a soak takes as long as it is told: "
            "say how many minutes with --soak, for example --soak=60"
        )
    return drop(items, "soak") if dropped else []


def held_back(dropped: list[pytest.Item]) -> list[NotRun]:
    """The deployments behind dropped items, each once, with the reason."""
    found: dict[str, NotRun] = {}
    for item in dropped:
        planned = planned_of(item)
        marker = item.get_closest_marker("qwenvl_held_back")
        if planned is not None and marker is not None:
            found[planned.id] = NotRun(
                model=planned.profile.name,
                deployment=planned.deployment.name,
                reason=str(marker.args[0]),
            )
    return list(found.values())


def order(items: list[pytest.Item], plan: Plan, groups: dict[str, str]) -> None:
    """Sort in place: a deployment's tests together, in plan order, cheapest group first.

    Items without a deployment come first; they are the ones that need no engine. So do those of
    the environment: a host that lacks something is known before any engine starts. Tests marked
    ``last`` close their deployment, whatever their group: they may end its engine; one marked
    ``last(1)`` comes after those marked ``last``, and so on.
    """
    position = {one.id: index for index, one in enumerate(plan.deployments)}

    def key(item: pytest.Item) -> tuple[int, int, int]:
        planned = planned_of(item)
        group = groups.get(requirement_of(item) or "", "")
        rank = GROUP_ORDER.index(group) if group in GROUP_ORDER else 0
        where = -1
        if planned is not None and group != "environment":
            where = position[planned.id]
        marker = item.get_closest_marker("last")
        closing = 0 if marker is None else 1 + (marker.args[0] if marker.args else 0)
        return where, closing, rank

    items.sort(key=key)
