"""Fixtures for suites of one's own: an engine of a deployment that is named where it is used.

The fixtures of :mod:`pytest_qwenvl.fixtures` run a test for every deployment of the run. What these
functions return serves a test that is about one of them, or about settings that no profile has::

    from pytest_qwenvl.factories import qwenvl_server

    small_batches = qwenvl_server("qwen3-vl-8b-instruct", arguments={"max_num_seqs": 2})

    def test_waits_its_turn(small_batches): ...
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.nearest import nearest
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile_fields import Mode
from pytest_qwenvl.profile_loading import load_profiles
from pytest_qwenvl.run import config_of, engine_session_of, plan_of
from pytest_qwenvl.weights import find_weights

if TYPE_CHECKING:
    from pytest_qwenvl.engines.endpoint import Endpoint
    from pytest_qwenvl.engines.offline import OfflineLLM

Scope = Literal["function", "class", "module", "package", "session"]
_NUMBERS = itertools.count(1)


def qwenvl_server(
    model: str,
    deployment: str = "serve-1npu",
    *,
    arguments: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    scope: Scope = "module",
) -> Any:
    """A fixture that is a ready server of one deployment, on devices of its own.

    It is started when a test first asks for it and ended, its devices given back, with the scope.
    In the report it is the deployment's name with a number: ``serve-1npu~1``.

    Args:
        model: the name of a profile, whether or not the run was asked for it.
        deployment: one of its served deployments.
        arguments: of ``vllm serve``, with underscores; added to the deployment's or in their place.
        environment: variables of the engine, likewise.
        scope: of the fixture; one that outlives a module keeps its devices from the tests after it.

    Raises:
        UsageProblem: when a test asks for it: no such profile or deployment, no weights, more
            devices than the run may hold beside those that this process holds, ``--endpoint``.
        EngineStartError: the engine did not start, with the tail of its log.
    """

    @pytest.fixture(scope=scope)
    def server(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
        named = _named(request.config, model, deployment, "serve", arguments, environment)
        with _leased(request.config, named) as (session, lease):
            yield session.start_server(named, lease)

    return server


def qwenvl_offline_llm(
    model: str,
    deployment: str = "offline-1npu",
    *,
    arguments: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    scope: Scope = "module",
) -> Any:
    """A fixture that is an offline ``LLM`` of one deployment; see :func:`qwenvl_server`.

    Args:
        model: the name of a profile, whether or not the run was asked for it.
        deployment: one of its offline deployments.
        arguments: of ``vllm.LLM``; added to the deployment's or in their place.
        environment: variables of the engine, likewise.
        scope: of the fixture.

    Raises:
        UsageProblem: as for :func:`qwenvl_server`.
        EngineStartError: the engine did not start, with the tail of its log.
    """

    @pytest.fixture(scope=scope)
    def offline_llm(request: pytest.FixtureRequest) -> Iterator[OfflineLLM]:
        named = _named(request.config, model, deployment, "offline", arguments, environment)
        with _leased(request.config, named) as (session, lease):
            yield session.start_offline(named, lease)

    return offline_llm


@contextlib.contextmanager
def _leased(
    config: pytest.Config, named: PlannedDeployment
) -> Iterator[tuple[EngineSession, Lease]]:
    session = engine_session_of(config).beside()
    with session.lease(named) as lease:
        yield session, lease


def _named(
    config: pytest.Config,
    model: str,
    deployment: str,
    mode: Mode,
    arguments: Mapping[str, Any] | None,
    environment: Mapping[str, str] | None,
) -> PlannedDeployment:
    asked, plan = config_of(config), plan_of(config)
    if asked.endpoint is not None:
        raise UsageProblem(
            f"{model}/{deployment} is to be started, and with --endpoint nothing is: leave out the "
            "tests that ask for it, or --endpoint"
        )
    profiles = load_profiles(asked.profile_directories)
    if model not in profiles:
        raise UsageProblem(f"no profile is called {model!r}{nearest(model, profiles)}")
    profile = profiles[model]
    its = {one.name: one for one in profile.deployments if one.mode == mode}
    if deployment not in its:
        raise UsageProblem(
            f"{model} has no deployment {deployment!r} of mode {mode!r}{nearest(deployment, its)}"
        )
    found = find_weights(profile, asked.weights_root)
    if found.location is None or found.problem:
        seen = found.problem or f"they are in none of {', '.join(found.looked_in)}"
        raise UsageProblem(
            f"{model}: no weights: {seen}; copy them there, or name their folder: --weights-root"
        )
    chosen = its[deployment]
    holding = engine_session_of(config).holding
    held = sum(holding.values())
    if chosen.npus + held > plan.npus:
        beside = f" beside the {held} that {', '.join(holding)} holds here" if held else ""
        raise UsageProblem(
            f"{model}/{deployment} needs {chosen.npus} devices{beside}, and the run may hold "
            f"{plan.npus}: give it more with --npus, or ask for one engine at a time"
        )
    changed = chosen.model_copy(
        update={
            "name": f"{deployment}~{next(_NUMBERS)}",
            "arguments": {**chosen.arguments, **(arguments or {})},
            "environment": {**chosen.environment, **(environment or {})},
        }
    )
    return PlannedDeployment(profile, changed, found.location)
