"""Every check, by the requirement it decides: the same for doctor and for the test suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.preflight import (
    devices,
    driver_stack,
    engine_versions,
    settings,
    storage,
    weights,
)
from pytest_qwenvl.preflight.finding import Examined
from pytest_qwenvl.preflight.host import Host
from pytest_qwenvl.preflight.table import CompatibilityTable


@dataclass(frozen=True)
class Check:
    """One requirement's check.

    Attributes:
        title: what is looked at, in a few words.
        run: takes the host and the table, and the deployment where ``of_deployment``.
        reads_weights: takes ``digests`` too.
    """

    title: str
    run: Callable[..., Examined]
    of_deployment: bool = False
    reads_weights: bool = False


# In the order in which doctor shows them: what others rest on comes first.
CHECKS: dict[str, Check] = {
    engine_versions.BACKEND: Check("vLLM for this backend", engine_versions.check_backend),
    engine_versions.PAIR: Check("vllm-ascend and vllm", engine_versions.check_pair),
    engine_versions.PACKAGES: Check("packages of the engine", engine_versions.check_packages),
    driver_stack.CANN: Check("CANN", driver_stack.check_cann),
    driver_stack.DRIVER: Check("driver and firmware", driver_stack.check_driver),
    engine_versions.CHIP: Check("wheel and chip", engine_versions.check_chip),
    devices.NODES: Check("device nodes", devices.check_nodes),
    devices.FILES: Check("files of the driver", devices.check_files),
    storage.SHARED_MEMORY: Check("shared memory", storage.check_shared_memory),
    weights.WEIGHTS: Check(
        "weights", weights.check_weights, of_deployment=True, reads_weights=True
    ),
    storage.DISK: Check("disk room", storage.check_disk),
    devices.MEMORY: Check("free NPU memory", devices.check_memory, of_deployment=True),
    devices.HEALTH: Check("health of the NPUs", devices.check_health),
    settings.JEMALLOC: Check("jemalloc", settings.check_jemalloc, of_deployment=True),
    settings.SETTINGS: Check("settings", settings.check_settings, of_deployment=True),
}


def examine(
    requirement: str,
    host: Host,
    table: CompatibilityTable,
    subject: PlannedDeployment | None = None,
) -> Examined:
    """Decide one requirement on a host.

    Args:
        subject: the deployment, for the requirements that are decided for each.

    Raises:
        InconclusiveError: it cannot be decided here; says what that would take.
        KeyError: no check decides ``requirement``.
    """
    check = CHECKS[requirement]
    if not check.of_deployment:
        return check.run(host, table)
    assert subject is not None, f"{requirement} is decided for a deployment"
    return check.run(host, table, subject)
