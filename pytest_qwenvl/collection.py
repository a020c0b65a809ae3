"""From a plan to pytest items: parametrise by deployment, order the work, group it for xdist."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.planning import Plan, PlannedDeployment
from pytest_qwenvl.profile import AccuracyFloor, LatencyWorkload

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
)
_UNPLANNED = "qwenvl_unplanned"


def parametrize(metafunc: pytest.Metafunc, plan: Plan) -> None:
    """Give a test that asks for ``deployment`` one instance for each deployment it applies to.

    ``server`` restricts it to served deployments, ``offline_llm`` to offline ones,
    ``accuracy_floor`` to (profile, floor) pairs and ``latency_workload`` to workloads.
    """
    names = metafunc.fixturenames
    if "accuracy_floor" in names:
        _set(metafunc, "accuracy_floor", _floors(plan))
    elif "latency_workload" in names:
        _set(metafunc, "latency_workload", _workloads(plan))
    else:
        modes = {"server": "serve", "offline_llm": "offline"}
        wanted = {mode for fixture, mode in modes.items() if fixture in names}
        marker = metafunc.definition.get_closest_marker("deployment_mode")
        wanted |= set(marker.args) if marker else set()
        marker = metafunc.definition.get_closest_marker("npus")
        count = marker.args[0] if marker else None
        chosen = [
            one
            for one in plan.deployments
            if (not wanted or {one.deployment.mode} == wanted)
            and (count is None or one.deployment.npus == count)
        ]
        _set(metafunc, None, [(one, one.id, None) for one in chosen])


def _set(
    metafunc: pytest.Metafunc,
    extra: str | None,
    rows: list[tuple[PlannedDeployment, str, Any]],
) -> None:
    if not rows:
        marks = (getattr(pytest.mark, _UNPLANNED),)
        empty = pytest.param(*([None] * (2 if extra else 1)), marks=marks, id="none")
        parameters = [empty]
    elif extra:
        parameters = [pytest.param(one, value, id=name) for one, name, value in rows]
    else:
        parameters = [pytest.param(one, id=name) for one, name, _ in rows]
    names = ["deployment", extra] if extra else ["deployment"]
    metafunc.parametrize(names, parameters, indirect=["deployment"], scope="session")


def _floors(plan: Plan) -> list[tuple[PlannedDeployment, str, AccuracyFloor]]:
    return [
        (one, f"{one.id}/{floor.task}", floor)
        for one in plan.deployments
        for floor in one.profile.accuracy
        if floor.deployment == one.deployment.name
    ]


def _workloads(plan: Plan) -> list[tuple[PlannedDeployment, str, LatencyWorkload]]:
    return [
        (one, f"{one.id}/{workload.name}", workload)
        for one in plan.deployments
        for workload in one.profile.latency
        if workload.deployment == one.deployment.name
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


def drop_unplanned(items: list[pytest.Item]) -> list[pytest.Item]:
    """Remove, and return, the items that no planned deployment stands behind."""
    dropped = [item for item in items if item.get_closest_marker(_UNPLANNED)]
    items[:] = [item for item in items if not item.get_closest_marker(_UNPLANNED)]
    return dropped


def order(items: list[pytest.Item], plan: Plan, groups: dict[str, str]) -> None:
    """Sort in place: a deployment's tests together, in plan order, cheapest group first.

    Items without a deployment come first; they are the ones that need no engine. Tests marked
    ``last`` close their deployment, whatever their group: they may end its engine.
    """
    position = {one.id: index for index, one in enumerate(plan.deployments)}

    def key(item: pytest.Item) -> tuple[int, bool, int]:
        planned = planned_of(item)
        group = groups.get(requirement_of(item) or "", "")
        rank = GROUP_ORDER.index(group) if group in GROUP_ORDER else 0
        where = -1 if planned is None else position[planned.id]
        return where, item.get_closest_marker("last") is not None, rank

    items.sort(key=key)


def group_for_xdist(items: list[pytest.Item]) -> None:
    """Keep the tests of one model on one worker, so that each of its engines starts once.

    A model's deployments share a worker because its served answers are compared with its
    offline ones.
    """
    for item in items:
        planned = planned_of(item)
        if planned is not None:
            item.add_marker(pytest.mark.xdist_group(planned.profile.name))
