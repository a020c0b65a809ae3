"""Device nodes, the driver's files, the health of NPUs and their free memory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from pytest_qwenvl.devices.npu import Npu
from pytest_qwenvl.engines.command import engine_arguments
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.preflight.finding import Examined, Finding
from pytest_qwenvl.preflight.host import Host
from pytest_qwenvl.preflight.table import CompatibilityTable

NODES = "QVL-ENV-007"
FILES = "QVL-ENV-008"
MEMORY = "QVL-ENV-012"
HEALTH = "QVL-ENV-013"

_HEALTHY = "OK"
_MOST_NAMED = 4
_CACHE_CONFIG = "vllm/config/cache.py"
_DEFAULT_UTILIZATION = re.compile(
    r"^\s*gpu_memory_utilization\s*:\s*float\s*=\s*(?:Field\(\s*default=)?([0-9.]+)", re.MULTILINE
)


def check_nodes(host: Host, table: CompatibilityTable) -> Examined:
    """Every visible NPU has its device node, beside those that manage all of them.

    A container that was given ``/dev/davinci3`` alone counts it as its NPU 0, so a node is missed
    by its number only where there are fewer nodes than NPUs.
    """
    there = {it.name for it in host.path("/dev").glob("davinci[0-9]*")}
    expected = [f"davinci{name.removeprefix('npu')}" for name in host.inventory.physical]
    managing, source = _of_generation(host, table, "nodes")
    absent = [it for it in expected if it not in there] if len(there) < len(expected) else []
    unmanaged = [it for it in managing if not host.path(f"/dev/{it}").exists()]
    present = [*sorted(there), *(it for it in managing if it not in unmanaged)]
    closed = [it for it in present if not host.usable(host.path(f"/dev/{it}"))]
    give = "give to the container {}; on the host itself, load the driver"
    kinds = (
        (absent, "no {}", "a device node for each NPU that npu-smi lists", give),
        (unmanaged, "no {}", f"the nodes of {source}", give),
        (
            closed,
            "{} may not be read and written by this user",
            "device nodes that the engine may open",
            "run as root, or join the group that owns them (ls -l /dev/davinci*)",
        ),
    )
    problems = [
        Finding(
            NODES,
            seen.format(_listed(f"/dev/{it}" for it in names)),
            wanted,
            remedy.format(_listed(f"--device /dev/{it}" for it in names)),
        )
        for names, seen, wanted, remedy in kinds
        if names
    ]
    if not expected and not problems:
        raise InconclusiveError("no NPU is listed whose device node could be looked for")
    return Examined(f"{len(there)} of davinciN, " + ", ".join(managing), tuple(problems))


def check_files(host: Host, table: CompatibilityTable) -> Examined:
    """The driver's own files, which the tutorial mounts into the container, are there.

    Docker makes an empty folder of a mount whose source is missing; that is as bad as nothing.
    """
    files, source = _of_generation(host, table, "files")
    paths = [it.format(driver=f"{host.driver_installation}/driver") for it in files]
    faults = {path: fault for path in paths if (fault := _fault_of(host, path))}
    if host.which("npu-smi") is None:
        faults["/usr/local/bin/npu-smi"] = "no npu-smi on the PATH"
    problems = []
    if faults:
        mounts = _listed(f"-v {path}:{path}" for path in faults)
        remedy = f"mount into the container {mounts}; on the host itself, install the driver"
        problems.append(
            Finding(FILES, "; ".join(faults.values()), f"the files of {source}", remedy)
        )
    return Examined(f"{len(files)} places of the driver, npu-smi", tuple(problems))


def _fault_of(host: Host, path: str) -> str:
    """What is wrong with a file or, where it ends in a slash, a folder; empty when nothing is."""
    place = host.path(path)
    if not path.endswith("/"):
        return f"{path} is a folder" if place.is_dir() else f"no {path}" * (not place.is_file())
    if not place.is_dir():
        return f"no folder {path}"
    return f"{path} is empty" * (not any(place.iterdir()))


def _listed(names: Iterable[str]) -> str:
    """Some names, the first few of many."""
    known = list(names)
    more = len(known) - _MOST_NAMED
    return ", ".join(known[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def check_health(host: Host, table: CompatibilityTable) -> Examined:
    """npu-smi lists the NPUs, and calls each of them OK."""
    trouble = host.troubles.get("npus")
    if trouble is not None:
        expected = "NPUs that npu-smi lists"
        remedy = "run npu-smi info by hand; a driver that does not answer needs its host's admin"
        return Examined(trouble, (Finding(HEALTH, trouble, expected, remedy),))
    host.generation()
    npus = host.inventory.npus
    problems = [
        Finding(
            HEALTH,
            f"NPU {npu.logic_id} (card {npu.card}) is {npu.health}",
            f"health {_HEALTHY}; leases pass the NPU over",
            f"look it up with npu-smi info -t health -i {npu.card}",
        )
        for npu in npus
        if npu.health != _HEALTHY
    ]
    return Examined(f"{len(npus) - len(problems)} of {len(npus)} NPUs OK", tuple(problems))


def check_memory(host: Host, table: CompatibilityTable, subject: PlannedDeployment) -> Examined:
    """As many NPUs as a deployment needs have free what its engine will reserve at once.

    That is ``gpu_memory_utilization`` of the whole, the profile's or else vLLM's own default;
    an NPU with less free refuses the engine after its imports, a minute into the start. NPUs that
    a run of a suite holds count as free: a lease waits for them.
    """
    host.generation()
    share = _utilization(host, subject)
    known = [
        npu
        for npu in host.inventory.npus
        if npu.memory_total_mib is not None and npu.memory_used_mib is not None
    ]
    if len(known) < subject.deployment.npus:
        raise InconclusiveError("npu-smi does not tell how much memory the NPUs have left")
    fit = [
        npu
        for npu in known
        if f"npu{npu.logic_id}" in host.leased or _free(npu) >= share * (npu.memory_total_mib or 0)
    ]
    needed = subject.deployment.npus
    seen = f"{len(fit)} of {len(known)} NPUs have {share:.0%} of their memory free"
    if len(fit) >= needed:
        return Examined(seen)
    short = [f"NPU {it.logic_id} {_free(it)} of {it.memory_total_mib} MiB" for it in known
             if it not in fit]  # fmt: skip
    holders = {f"{it.name} ({it.pid})" for npu in known if npu not in fit for it in npu.processes}
    held = f"; held by {', '.join(sorted(holders))}" if holders else ""
    return Examined(
        seen,
        (
            Finding(
                MEMORY,
                f"{seen}; free: {', '.join(short[:4])}{held}",
                f"as many as the deployment needs, with {share:.0%} free, its engine's "
                "gpu_memory_utilization",
                "end what holds them, choose others with ASCEND_RT_VISIBLE_DEVICES, or lower "
                "gpu_memory_utilization in an overlay of the profile",
            ),
        ),
    )


def _of_generation(
    host: Host, table: CompatibilityTable, field: Literal["nodes", "files"]
) -> tuple[list[str], str]:
    """What hosts of this generation have, and who says so; what all of them have if unknown."""
    if host.inventory.npus:
        row = table.hardware_of(host.generation())
        return getattr(row, field), row.source
    rows = [it for it in table.hardware if it.name != "cpu"]
    common = [
        it for it in getattr(rows[0], field) if all(it in getattr(row, field) for row in rows)
    ]
    return common, rows[0].source


def _free(npu: Npu) -> int:
    return (npu.memory_total_mib or 0) - (npu.memory_used_mib or 0)


def _utilization(host: Host, subject: PlannedDeployment) -> float:
    found = host.known_interpreter()
    arguments = engine_arguments(
        subject.profile, subject.deployment, host.inventory.backend, found.engine_versions
    )
    given = arguments.get("gpu_memory_utilization")
    if isinstance(given, int | float):
        return float(given)
    # The default changed between releases (0.9, later 0.92), so the installed one is asked.
    match = _DEFAULT_UTILIZATION.search(found.texts.get(_CACHE_CONFIG, ""))
    if match is None:
        raise InconclusiveError(
            f"{subject.id} sets no gpu_memory_utilization, and {_CACHE_CONFIG} of {found.path} "
            "does not say vLLM's default"
        )
    return float(match[1])
