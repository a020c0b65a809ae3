"""What a test needs beyond a server's address, and what of it an attached run cannot have.

A test says it with ``@pytest.mark.needs("log")``; some fixtures and groups imply it. On an
attached server (``--endpoint``) such tests are dropped at collection, and their requirements
listed as undecided, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest

from pytest_qwenvl.catalogue import Catalogue
from pytest_qwenvl.collection import planned_of, requirement_of
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.planning import Plan
from pytest_qwenvl.report.results import Undecided

NEEDS = {
    "launch": "needs a start by this run",
    "log": "needs the engine's log",
    "host": "is about the engine's host",
    "hardware": "holds for a kind of device, which is not seen",
    "weights": "needs the digest of the weights, which nobody can take of an attached server's",
}
"""What a test may need, and why its requirement is out of an attached run's reach."""

_OF_MARKER = {"environment": "host", "offline": "launch"}
_OF_FIXTURE = {
    "offline_llm": "launch",
    "start_offline_llm": "launch",
    "evaluate": "launch",
    "offline_bench": "launch",
    "measure_offline": "launch",
}


def needs_of(item: pytest.Item) -> list[str]:
    """What a test needs: by its marker ``needs``, its group's marker, its fixtures.

    Raises:
        UsageProblem: a ``needs`` marker with a word that :data:`NEEDS` does not have.
    """
    named: list[str] = []
    for marker in item.iter_markers("needs"):
        for word in marker.args:
            if word not in NEEDS:
                raise UsageProblem(
                    f"{item.nodeid}: needs({word!r}): known needs are {', '.join(NEEDS)}"
                )
            named.append(word)
    named += [need for name, need in _OF_MARKER.items() if item.get_closest_marker(name)]
    fixtures = getattr(item, "fixturenames", ())
    named += [need for name, need in _OF_FIXTURE.items() if name in fixtures]
    # Every test of a server has it below ``server``; asked for itself, its result is the matter.
    own = getattr(getattr(item, "_fixtureinfo", None), "argnames", ())
    if "start_server" in own:
        named.append("launch")
    return list(dict.fromkeys(named))


def drop_undecidable(
    items: list[pytest.Item],
    catalogue: Catalogue | None,
    why_not: Mapping[str, Callable[[], str]],
) -> list[tuple[pytest.Item, str]]:
    """Remove, and return with the reason, the tests that an attached server cannot decide.

    Args:
        catalogue: None for a suite without requirements.
        why_not: by fixture, why what it runs cannot run here (``vllm bench serve`` for ``bench``,
            lm-eval for ``evaluate_served``); empty when it can. Only called, and only once, when a
            test asks for the fixture.
    """
    dropped: list[tuple[pytest.Item, str]] = []
    kept: list[pytest.Item] = []
    asked: dict[str, str] = {}
    for item in items:
        needs = needs_of(item)
        requirement = requirement_of(item)
        if (
            requirement
            and catalogue
            and requirement in catalogue
            and len(catalogue[requirement].applies_to) == 1
        ):
            needs.append("hardware")
        reason = next((NEEDS[need] for need in needs), "")
        held_back = item.get_closest_marker("qwenvl_held_back")
        if not reason and held_back is not None:
            reason = str(held_back.args[0])
        for fixture in why_not.keys() & set(getattr(item, "fixturenames", ())):
            if not reason:
                if fixture not in asked:
                    asked[fixture] = why_not[fixture]()
                reason = asked[fixture]
        if reason:
            dropped.append((item, reason))
        else:
            kept.append(item)
    items[:] = kept
    return dropped


def undecided(
    dropped: Iterable[tuple[pytest.Item, str]], kept: Sequence[pytest.Item], plan: Plan
) -> list[Undecided]:
    """What an attached run leaves undecided, each requirement once.

    A requirement that is decided on the server's own deployment, and was only dropped for the
    model's other ones, is not listed again for each: those deployments are, as such.
    """
    decided = {requirement_of(item) for item in kept}
    found: dict[tuple[str, str], Undecided] = {}
    for item, reason in dropped:
        planned, requirement = planned_of(item), requirement_of(item)
        if requirement is None:
            continue
        model = planned.profile.name if planned else plan.profiles[0].name
        deployment = planned.deployment.name if planned else ""
        if requirement in decided:
            requirement = ""
        key = (requirement, "" if requirement else deployment)
        found.setdefault(
            key,
            Undecided(requirement=requirement, model=model, deployment=deployment, reason=reason),
        )
    return list(found.values())
