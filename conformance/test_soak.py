"""A server under a mixed load for as long as ``--soak`` says: what grows, what stays, what fails.

The first test of a deployment makes the soak; all of them are judged from its record, in the run
and by ``gate`` alike.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.soak_requests import SoakRequests, probes_of
from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.soak_record import KIND, Soak, as_evidence
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.report.judges import Case, judge_case
from pytest_qwenvl.report.measurements import MEASUREMENT
from pytest_qwenvl.soak.running import soak_deployment

pytestmark = pytest.mark.soak

Soaks = dict[str, Soak | MeasurementError]


@pytest.fixture(scope="session")
def soaks() -> Soaks:
    """Soaks that were made already, or failed: one decides several requirements."""
    return {}


@pytest.fixture
def judge(
    deployment: PlannedDeployment,
    npu_lease: Lease | None,
    engine_session: EngineSession,
    server: Endpoint,
    soaks: Soaks,
    evidence: Evidence,
) -> Callable[[str], None]:
    """Make the soak once, keep what was watched, and judge it as ``gate`` will judge the report."""

    def make() -> Soak:
        load = deployment.profile.soak
        if load is None:
            pytest.skip(f"the profile {deployment.profile.name} declares no [soak]")
        minutes = engine_session.config.soak
        assert minutes is not None, "without --soak this requirement is not claimed"
        requests = SoakRequests(server, deployment, load)
        probes = probes_of(server, deployment)
        return soak_deployment(
            engine_session, deployment, npu_lease, server, load, minutes, requests, probes
        )

    def decide(name: str) -> None:
        known = soaks.get(deployment.id)
        if known is None:
            try:
                known = make()
                evidence.record(**{MEASUREMENT: as_evidence(known)})
            except MeasurementError as problem:
                known = problem
            soaks[deployment.id] = known
        else:
            evidence.record(**{MEASUREMENT: f"{KIND} {KIND}"})
        if isinstance(known, MeasurementError):
            raise known
        profile = deployment.profile.model_dump(mode="json")
        case = Case(known, deployment.deployment.name, profile, evidence.values)
        judgement = judge_case(name, case)
        evidence.judge(judgement.outcome, judgement.sentence, **judgement.evidence)

    return decide


@pytest.mark.requirement("QVL-SOK-001")
def test_survival(judge: Callable[[str], None]) -> None:
    """The engine lives, and every request comes out as it should."""
    judge("soak-survival")


@pytest.mark.needs("host")
@pytest.mark.requirement("QVL-SOK-002")
def test_memory(judge: Callable[[str], None]) -> None:
    """No engine process's memory keeps growing."""
    judge("soak-memory")


@pytest.mark.needs("host")
@pytest.mark.requirement("QVL-SOK-003")
def test_device_memory(judge: Callable[[str], None]) -> None:
    """No leased device's memory keeps filling."""
    judge("soak-device-memory")


@pytest.mark.needs("host")
@pytest.mark.requirement("QVL-SOK-004")
def test_descriptors(judge: Callable[[str], None]) -> None:
    """Descriptors, sockets and threads do not keep growing."""
    judge("soak-descriptors")


@pytest.mark.requirement("QVL-SOK-005")
def test_requests_leave(judge: Callable[[str], None]) -> None:
    """No request stays in the engine that nobody waits for."""
    judge("soak-requests")


@pytest.mark.requirement("QVL-SOK-006")
def test_answers_stay(judge: Callable[[str], None]) -> None:
    """Fixed questions are answered as they were at first."""
    judge("soak-answers")


@pytest.mark.requirement("QVL-SOK-007")
def test_latency_stays(judge: Callable[[str], None]) -> None:
    """Fixed questions are answered as soon as they were at first."""
    judge("soak-latency")
