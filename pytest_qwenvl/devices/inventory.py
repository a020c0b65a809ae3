"""What devices this process may use: NPUs where there is any sign of them, else virtual ones."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_qwenvl.errors import UsageProblem


@dataclass(frozen=True)
class Inventory:
    """The devices a run may choose from.

    Attributes:
        backend: ``npu``, or ``cpu`` for virtual devices (one a core).
        devices: indices into what the caller may see, 0 up.
        physical: for each device the host-wide identity that a lease is taken on.
        mask: the caller's own list of what it may use, through which ``devices`` are mapped;
            None when it may use all.
        hardware: the generation that latency budgets are declared for; ``cpu`` for virtual ones.
        chosen_because: how the backend was decided, for the first line of output.
    """

    backend: Literal["npu", "cpu"]
    devices: tuple[int, ...]
    physical: tuple[str, ...]
    mask: str | None
    hardware: str
    chosen_because: str


def signs_of_ascend(
    environment: Mapping[str, str], device_directory: Path = Path("/dev")
) -> list[str]:
    """Everything on this host that says it is an Ascend host; empty when nothing does."""
    signs = [str(path) for path in sorted(device_directory.glob("davinci[0-9]*"))]
    tool = shutil.which("npu-smi", path=environment.get("PATH"))
    if tool:
        signs.append(tool)
    signs += [
        f"${name}"
        for name in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "ASCEND_RT_VISIBLE_DEVICES")
        if environment.get(name)
    ]
    return signs


def take_inventory(
    backend: Literal["auto", "npu", "cpu"],
    environment: Mapping[str, str] | None = None,
    device_directory: Path = Path("/dev"),
) -> Inventory:
    """The devices that ``--backend`` leaves to choose from.

    Raises:
        UsageProblem: NPUs were asked for, or the host looks like an Ascend host, and none is
            visible. Such a run is never silently moved to the CPU.
    """
    environment = os.environ if environment is None else environment
    signs = [] if backend == "cpu" else signs_of_ascend(environment, device_directory)
    if backend == "npu" or signs:
        visible = _visible_npus(environment, device_directory)
        if not visible:
            seen = ", ".join(signs) or "no device node, no npu-smi, no CANN environment"
            remedy = (
                "give this process the devices (/dev/davinci*), or run on virtual devices with "
                "--backend cpu"
            )
            asked = "--backend npu" if backend == "npu" else "this looks like an Ascend host"
            raise UsageProblem(f"{asked}, but no NPU is visible (seen: {seen}); {remedy}")
        why = "asked for by --backend npu" if backend == "npu" else f"found {signs[0]}"
        mask = environment.get("ASCEND_RT_VISIBLE_DEVICES")
        return Inventory("npu", tuple(range(len(visible))), tuple(visible), mask, "npu", why)
    cores = sorted(os.sched_getaffinity(0))
    why = "asked for by --backend cpu" if backend == "cpu" else "no sign of an NPU on this host"
    physical = tuple(f"core{core}" for core in cores)
    mask = ",".join(map(str, cores))
    return Inventory("cpu", tuple(range(len(cores))), physical, mask, "cpu", why)


def _visible_npus(environment: Mapping[str, str], device_directory: Path) -> list[str]:
    nodes = [
        int(match[1])
        for path in device_directory.glob("davinci*")
        if (match := re.fullmatch(r"davinci(\d+)", path.name))
    ]
    mask = environment.get("ASCEND_RT_VISIBLE_DEVICES")
    if mask is None:
        return [f"davinci{index}" for index in sorted(nodes)]
    try:
        wanted = [int(part) for part in mask.split(",")] if mask.strip() else []
    except ValueError:
        raise UsageProblem(
            f"ASCEND_RT_VISIBLE_DEVICES={mask!r}: needs device numbers with commas, such as 0,1"
        ) from None
    unknown = [index for index in wanted if index not in nodes]
    if unknown or len(set(wanted)) != len(wanted):
        raise UsageProblem(
            f"ASCEND_RT_VISIBLE_DEVICES={mask!r}: names a device twice or one that is not there; "
            f"device nodes: {', '.join(map(str, sorted(nodes))) or 'none'}"
        )
    return [f"davinci{index}" for index in wanted]
