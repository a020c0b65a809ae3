"""The host and the interpreter that runs engines, decided before anything is started."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.preflight.checks import examine
from pytest_qwenvl.preflight.examination import devices_now
from pytest_qwenvl.preflight.host import Host
from pytest_qwenvl.preflight.table import CompatibilityTable, load_table
from pytest_qwenvl.profile import Engine

pytestmark = pytest.mark.environment

Decide = Callable[..., None]


@pytest.fixture(scope="session")
def compatibility() -> CompatibilityTable:
    """The suite's compatibility table."""
    return load_table(Path(__file__).with_name("compatibility.toml"))


@pytest.fixture(scope="session")
def host(engine_session: EngineSession) -> Host:
    """This host as it is now."""
    inventory, leased = devices_now(engine_session.plan.inventory.backend)
    return Host(
        inventory=inventory,
        interpreter=engine_session.interpreter,
        environment=os.environ,
        leased=leased,
        contained=engine_session.container is not None,
    )


@pytest.fixture
def decide(host: Host, compatibility: CompatibilityTable, evidence: Evidence) -> Decide:
    """Decide a requirement: what was looked at is evidence, a finding is a failure."""

    def decide_one(requirement: str, subject: PlannedDeployment | None = None) -> None:
        examined = examine(requirement, host, compatibility, subject)
        evidence.record(seen=examined.seen, findings=[str(it) for it in examined.findings])
        assert not examined.findings, "\n".join(str(it) for it in examined.findings)

    return decide_one


@pytest.mark.smoke
@pytest.mark.requirement("QVL-ENV-001")
def test_engine_matches_backend(decide: Decide) -> None:
    """The interpreter's vLLM is one for this backend."""
    decide("QVL-ENV-001")


@pytest.mark.requirement("QVL-ENV-002")
def test_vllm_and_vllm_ascend_are_a_pair(decide: Decide) -> None:
    """Both versions are in one row of the compatibility table."""
    decide("QVL-ENV-002")


@pytest.mark.requirement("QVL-ENV-003")
def test_packages_are_those_of_the_release(decide: Decide) -> None:
    """Python, torch, torch_npu and transformers."""
    decide("QVL-ENV-003")


@pytest.mark.requirement("QVL-ENV-004")
def test_cann_is_that_of_the_release(decide: Decide) -> None:
    """Read from CANN's version files."""
    decide("QVL-ENV-004")


@pytest.mark.requirement("QVL-ENV-005")
def test_driver_and_firmware_fit(decide: Decide) -> None:
    """Read from the version files of both."""
    decide("QVL-ENV-005")


@pytest.mark.requirement("QVL-ENV-006")
def test_wheel_is_built_for_the_chip(decide: Decide) -> None:
    """What vllm-ascend was built for is written into it."""
    decide("QVL-ENV-006")


@pytest.mark.requirement("QVL-ENV-007")
def test_device_nodes_are_there(decide: Decide) -> None:
    """One for each NPU, and those that manage them."""
    decide("QVL-ENV-007")


@pytest.mark.requirement("QVL-ENV-008")
def test_files_of_the_driver_are_there(decide: Decide) -> None:
    """What the tutorial mounts into its container."""
    decide("QVL-ENV-008")


@pytest.mark.requirement("QVL-ENV-009")
def test_shared_memory_is_large_enough(decide: Decide) -> None:
    """The size of /dev/shm, and the room in it."""
    decide("QVL-ENV-009")


@pytest.mark.requirement("QVL-ENV-010")
def test_weights_are_whole(decide: Decide, deployment: PlannedDeployment) -> None:
    """Every shard has the size that its own header says."""
    decide("QVL-ENV-010", deployment)


@pytest.mark.requirement("QVL-ENV-011")
def test_disk_has_room(decide: Decide) -> None:
    """Temporary files and caches."""
    decide("QVL-ENV-011")


@pytest.mark.requirement("QVL-ENV-012")
def test_memory_of_npus_is_free(decide: Decide, deployment: PlannedDeployment) -> None:
    """As many as the deployment needs have free what the engine will reserve."""
    decide("QVL-ENV-012", deployment)


@pytest.mark.requirement("QVL-ENV-013")
def test_npus_are_healthy(decide: Decide) -> None:
    """Npu-smi calls each of them OK."""
    decide("QVL-ENV-013")


@pytest.mark.requirement("QVL-ENV-014")
def test_allocator_is_there(
    decide: Decide, deployment: PlannedDeployment, engine_session: EngineSession
) -> None:
    """A profile that preloads jemalloc finds it."""
    backend = engine_session.plan.inventory.backend
    if not deployment.profile.engine.get(backend, Engine()).preload:
        pytest.skip(f"the profile {deployment.profile.name} preloads nothing")
    decide("QVL-ENV-014", deployment)


@pytest.mark.requirement("QVL-ENV-015")
def test_settings_do_not_contradict(decide: Decide, deployment: PlannedDeployment) -> None:
    """The profile's and the caller's, against the rules of the table."""
    decide("QVL-ENV-015", deployment)
