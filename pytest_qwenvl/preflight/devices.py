"""Device nodes, the driver's files, the health of NPUs and their free memory."""

from __future__ import annotations

import re
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
    absent = [it for it in expected if it not in there] if len(there) < len(expected) else []
    managing, source = _of_generation(host, table, "nodes")
    absent += [it for it in managing if not host.path(f"/dev/{it}").exists()]
    problems = [
        Finding(
            NODES,
            f"no /dev/{name}",
            "one device node for each NPU that npu-smi lists"
            if name in expected
            else f"/dev/{name} ({source})",
            f"give it to the container: --device /dev/{name}; on the host itself, load the driver",
        )
        for name in absent
    ]
    present = [it for it in [*sorted(there), *managing] if it not in absent]
    problems += [
        Finding(
            NODES,
            f"/dev/{name} may not be read and written by this user",
            "device nodes that the engine may open",
            "run as root, or join the group that owns the node (ls -l /dev/davinci*)",
        )
        for name in present
        if not host.usable(host.path(f"/dev/{name}"))
    ]
    if not expected and not problems:
        raise InconclusiveError("no NPU is listed whose device node could be looked for")
    return Examined(f"{len(there)} of davinciN, " + ", ".join(managing), tuple(problems))


def check_files(host: Host, table: CompatibilityTable) -> Examined:
    """The driver's own files, which the tutorial mounts into the container, are there.

    Docker makes an empty folder of a mount whose source is missing; that is as bad as nothing.
    """
    files, source = _of_generation(host, table, "files")
    problems = []
    for name in files:
        path = name.format(driver=f"{host.driver_installation}/driver")
        place = host.path(path)
        if name.endswith("/"):
            fault = "no folder" if not place.is_dir() else "is empty" * (not any(place.iterdir()))
        else:
            fault = "is a folder" if place.is_dir() else "no file" * (not place.is_file())
        if fault:
            seen = f"{fault} {path}" if fault.startswith("no ") else f"{path} {fault}"
            remedy = (
                f"mount it into the container: -v {path}:{path}; on the host itself, "
                "install the driver"
            )
            problems.append(Finding(FILES, seen, f"{path} ({source})", remedy))
    if host.which("npu-smi") is None:
        remedy = (
            "mount it into the container: -v /usr/local/bin/npu-smi:/usr/local/bin/npu-smi; on "
            "the host itself, put it on the PATH"
        )
        expected = "npu-smi, which tells generation, health and memory of the NPUs"
        problems.append(Finding(FILES, "no npu-smi on the PATH", expected, remedy))
    return Examined(f"{len(files)} places of the driver, npu-smi", tuple(problems))


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
    an NPU with less free refuses the engine after its imports, a minute into the start.
    """
    host.generation()
    share = _utilization(host, subject)
    known = [it for it in host.inventory.npus if it.memory_total_mib and it.memory_used_mib]
    if len(known) < subject.deployment.npus:
        raise InconclusiveError("npu-smi does not tell how much memory the NPUs have left")
    fit = [npu for npu in known if _free(npu) >= share * (npu.memory_total_mib or 0)]
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
    file = found.locations.get("vllm", found.site_packages / "vllm") / "config" / "cache.py"
    try:
        match = _DEFAULT_UTILIZATION.search(file.read_text(encoding="utf-8"))
    except OSError:
        match = None
    if match is None:
        raise InconclusiveError(
            f"{subject.id} sets no gpu_memory_utilization, and {file} does not say vLLM's default"
        )
    return float(match[1])
