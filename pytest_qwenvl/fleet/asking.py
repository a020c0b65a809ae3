"""A pytest plugin for the head: what would this command line run, on hosts that it has not?

``-p pytest_qwenvl.fleet.asking`` in a child pytest, with the question as JSON in the file that
``QWENVL_FLEET_QUESTION`` names; the answer goes to the file beside it. Two questions: ``options``
(what the arguments mean) and ``plan`` (what they select, on the devices and weights of a fleet).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

QUESTION = "QWENVL_FLEET_QUESTION"
ANSWER = ".answer"


def _question() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(os.environ[QUESTION]).read_text(encoding="utf-8"))
    return content


def _answer(content: dict[str, Any]) -> None:
    path = Path(os.environ[QUESTION] + ANSWER)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Answer what the arguments mean, without collecting anything."""
    if "options" not in _question():
        return None
    from pytest_qwenvl.errors import UsageProblem
    from pytest_qwenvl.planning import chosen_models
    from pytest_qwenvl.profile_loading import load_profiles, select_profiles
    from pytest_qwenvl.run import config_of, wants_suite

    asked = config_of(config)
    try:
        profiles = load_profiles(asked.profile_directories)
        models = chosen_models(asked)
        chosen = select_profiles(profiles, models) if models else profiles
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None
    _answer(
        {
            "config": asked.model_dump(mode="json"),
            "suite": str(asked.suite) if asked.suite and wants_suite(config) else "",
            "junit": getattr(config.option, "xmlpath", None) or "",
            "workers": bool(getattr(config.option, "numprocesses", None)),
            "profiles": [
                [profile.model_dump(mode="json"), str(profile.path)] for profile in chosen.values()
            ],
        }
    )
    return 0


def pytest_configure(config: pytest.Config) -> None:
    """Plan for the fleet's devices and weights instead of this host's."""
    question = _question()
    if "plan" not in question:
        return
    from pytest_qwenvl.devices.inventory import Inventory
    from pytest_qwenvl.errors import UsageProblem
    from pytest_qwenvl.planning import ANY
    from pytest_qwenvl.run import plan_for
    from pytest_qwenvl.weights import FoundWeights

    asked = question["plan"]
    devices = range(asked["devices"])
    inventory = Inventory(
        asked["backend"],
        tuple(devices),
        tuple(f"fleet{index}" for index in devices),
        None,
        ANY,
        "hosts of a fleet",
    )
    found = {name: FoundWeights(Path(where)) for name, where in asked["weights"].items()}
    nowhere = FoundWeights(None, ("every host of the fleet",))
    try:
        plan_for(config, inventory, lambda profile: found.get(profile.name, nowhere))
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Answer what the run selects."""
    if "plan" not in _question():
        return
    from pytest_qwenvl import __version__
    from pytest_qwenvl.collection import planned_of
    from pytest_qwenvl.recording import scope_of
    from pytest_qwenvl.run import catalogue_of, plan_of
    from pytest_qwenvl.telling import claims_of, state_of

    config, plan = session.config, plan_of(session.config)
    catalogue = catalogue_of(config)
    selected = {its.id for its in map(planned_of, session.items) if its is not None}
    _answer(
        {
            "suite_version": __version__,
            "catalogue_version": catalogue.version,
            "requirements": [its.model_dump(mode="json") for its in catalogue.requirements],
            "profiles": {its.name: its.model_dump(mode="json") for its in plan.profiles},
            "claims": claims_of(session.items),
            "scope": scope_of(config),
            "not_run": [
                *(its.model_dump() for its in plan.not_run),
                *state_of(config, session.items).get("held_back", []),
            ],
            "deployments": [
                {
                    "id": its.id,
                    "model": its.profile.name,
                    "devices": its.deployment.npus,
                    "seconds": its.deployment.estimated_seconds,
                    "hardware": its.deployment.hardware,
                    "labels": sorted(its.deployment.host_labels.items()),
                    "whole_host": its.deployment.exclusive != "devices",
                }
                for its in plan.deployments
                if its.id in selected
            ],
        }
    )
