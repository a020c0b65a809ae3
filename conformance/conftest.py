"""What several of the suite's tests need."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance import served_answers
from conformance.known_faults import KnownFault, load_known_faults
from conformance.offline_answers import OfflineAnswers, ask
from conformance.refusing import Refusing
from pytest_qwenvl.collection import planned_of, requirement_of
from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment, offline_partner
from pytest_qwenvl.protocol.findings import Deviation, load_deviations

SERVED_EQUALS_OFFLINE = "QVL-CON-001"


@pytest.fixture(scope="session")
def deviations(engine_session: EngineSession) -> tuple[Deviation, ...]:
    """Where this engine's version is known, and accepted, to depart from OpenAI's schema."""
    attached = engine_session.plan.endpoint is not None
    version = "" if attached else engine_session.interpreter.vllm_version
    return load_deviations(Path(__file__).with_name("deviations.toml"), version)


@pytest.fixture(scope="session")
def known_faults(server: Endpoint, engine_session: EngineSession) -> tuple[KnownFault, ...]:
    """What this engine's version is known to get wrong, whatever the requirement.

    An attached server is held to the version that it tells, and excused from everything listed
    when it tells none.
    """
    if engine_session.plan.endpoint is None:
        version = engine_session.interpreter.vllm_version
    else:
        told = re.search(r'"version"\s*:\s*"(\d[^"]*)"', server.request("GET", "/version").text)
        version = told[1] if told else ""
    return load_known_faults(version=version)


@pytest.fixture
def refuses(
    request: pytest.FixtureRequest,
    server: Endpoint,
    evidence: Evidence,
    known_faults: tuple[KnownFault, ...],
) -> Refusing:
    """Sends wrong requests and judges their refusals: ``refuses(cases)``."""
    its = [fault for fault in known_faults if fault.requirement == requirement_of(request.node)]
    return Refusing(server, evidence, its)


@pytest.fixture(scope="session")
def served_before(
    server: Endpoint, deployment: PlannedDeployment, engine_session: EngineSession
) -> Callable[[], list[str]]:
    """What this deployment's first server answers, asked once and kept for the run to compare.

    The first call is to come before anything ends that server.
    """

    def get() -> list[str]:
        answers = served_answers.kept(engine_session, deployment)
        if answers is None:
            answers = served_answers.ask_served(server, deployment)
            served_answers.keep(engine_session, deployment, answers)
        return answers

    return get


@pytest.fixture(scope="session")
def answer_book(request: pytest.FixtureRequest, engine_session: EngineSession) -> OfflineAnswers:
    """Offline answers of this run, as far as a selected test will compare them."""
    wanted = set()
    for item in request.session.items:
        planned = planned_of(item)
        if planned is not None and requirement_of(item) == SERVED_EQUALS_OFFLINE:
            partner = offline_partner(engine_session.plan, planned)
            if partner is not None:
                wanted.add(partner.id)
    return OfflineAnswers(engine_session, wanted)


@pytest.fixture
def offline_answers(
    answer_book: OfflineAnswers,
    engine_session: EngineSession,
    deployment: PlannedDeployment,
    npu_lease: Lease | None,
) -> Callable[[], list[str]]:
    """What the model's offline LLM answered, for a served deployment.

    Where the offline tests did not run before, calling it ends the server and starts the offline
    LLM on its devices: for the last test of a deployment.
    """

    def get() -> list[str]:
        partner = offline_partner(engine_session.plan, deployment)
        if partner is None or npu_lease is None:
            pytest.skip("this run has no offline deployment on as many devices to compare with")
        known = answer_book.of(partner)
        return (
            ask(partner, engine_session.start_offline(partner, npu_lease))
            if (known is None)
            else known
        )

    return get
