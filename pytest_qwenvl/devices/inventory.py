"""What devices this process may use: NPUs where there is any sign of them, else virtual ones.

NPUs are what ``npu-smi`` shows, within the caller's mask. Only where there is no ``npu-smi`` at
all are device nodes counted instead; nothing but their number is known then.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_qwenvl.devices.npu import Npu
from pytest_qwenvl.devices.reading import DEFAULT_TIMEOUT, read_npus
from pytest_qwenvl.errors import UsageProblem

_MASK = "ASCEND_RT_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Inventory:
    """The devices a run may choose from.

    Attributes:
        backend: ``npu``, or ``cpu`` for virtual devices (one a core).
        devices: indices into what the caller may see, 0 up.
        physical: for each device the host-wide identity that a lease is taken on:
            ``npu<logic id>``, ``core<number>`` for virtual ones.
        mask: the list of what may be used, through which ``devices`` are mapped: the caller's
            own where there is one; None when ``devices`` are the numbers engines count in.
        hardware: the generation that latency budgets are declared for: ``a2``, ``a3``, ``310p``,
            ``a5``; ``cpu`` for virtual devices, ``npu`` where only device nodes were counted.
        chosen_because: how the backend was decided, for the first line of output.
        npus: for each device what npu-smi said of it when the inventory was taken; empty for
            virtual devices and where only device nodes were counted.
    """

    backend: Literal["npu", "cpu"]
    devices: tuple[int, ...]
    physical: tuple[str, ...]
    mask: str | None
    hardware: str
    chosen_because: str
    npus: tuple[Npu, ...] = ()


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
        for name in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", _MASK)
        if environment.get(name)
    ]
    return signs


def take_inventory(
    backend: Literal["auto", "npu", "cpu"],
    environment: Mapping[str, str] | None = None,
    device_directory: Path = Path("/dev"),
    timeout: float = DEFAULT_TIMEOUT,
) -> Inventory:
    """The devices that ``--backend`` leaves to choose from.

    Args:
        environment: the caller's variables (``os.environ``).
        device_directory: where device nodes are.
        timeout: seconds after which npu-smi counts as hung.

    Raises:
        UsageProblem: NPUs were asked for, or the host looks like an Ascend host, and none is
            visible, or what is visible cannot be read. Such a run is never silently moved to the
            CPU.
    """
    environment = os.environ if environment is None else environment
    signs = [] if backend == "cpu" else signs_of_ascend(environment, device_directory)
    if backend != "npu" and not signs:
        return _virtual(asked=backend == "cpu")
    asked = "--backend npu" if backend == "npu" else "this looks like an Ascend host"
    mask = environment.get(_MASK)
    tool = shutil.which("npu-smi", path=environment.get("PATH"))
    found = {} if tool is None else _read(tool, environment, timeout, f"{asked} ({signs[0]})")
    known = sorted(found) if tool else _nodes(device_directory)
    wanted = known if mask is None else _masked(mask, known, "NPUs" if tool else "device nodes")
    if not wanted:
        seen = ", ".join(signs) or "no device node, no npu-smi, no CANN environment"
        remedy = (
            "give this process the devices (/dev/davinci*), or run on virtual devices with "
            "--backend cpu"
        )
        if mask is not None:
            remedy = f"{_MASK} is set but empty and hides every NPU: unset it, or {remedy}"
        raise UsageProblem(f"{asked}, but no NPU is visible (seen: {seen}); {remedy}")
    npus = tuple(found[logic_id] for logic_id in wanted if tool)
    if mask is None and npus and wanted != list(range(len(wanted))):
        mask = ",".join(map(str, wanted))
    return Inventory(
        "npu",
        tuple(range(len(wanted))),
        tuple(f"npu{logic_id}" for logic_id in wanted),
        mask,
        _one_generation(npus) if npus else "npu",
        "asked for by --backend npu" if backend == "npu" else f"found {signs[0]}",
        npus,
    )


def _virtual(*, asked: bool) -> Inventory:
    cores = sorted(os.sched_getaffinity(0))
    why = "asked for by --backend cpu" if asked else "no sign of an NPU on this host"
    physical = tuple(f"core{core}" for core in cores)
    mask = ",".join(map(str, cores))
    return Inventory("cpu", tuple(range(len(cores))), physical, mask, "cpu", why)


def _read(tool: str, environment: Mapping[str, str], timeout: float, asked: str) -> dict[int, Npu]:
    try:
        return {npu.logic_id: npu for npu in read_npus(tool, environment, timeout)}
    except UsageProblem as problem:
        raise UsageProblem(f"{asked}, but its NPUs cannot be listed: {problem}") from None


def _nodes(device_directory: Path) -> list[int]:
    return sorted(
        int(match[1])
        for path in device_directory.glob("davinci*")
        if (match := re.fullmatch(r"davinci(\d+)", path.name))
    )


def _masked(mask: str, known: Sequence[int], kind: str) -> list[int]:
    try:
        wanted = [int(part) for part in mask.split(",")] if mask.strip() else []
    except ValueError:
        raise UsageProblem(
            f"{_MASK}={mask!r}: needs device numbers with commas, such as 0,1"
        ) from None
    unknown = [index for index in wanted if index not in known]
    if unknown or len(set(wanted)) != len(wanted):
        raise UsageProblem(
            f"{_MASK}={mask!r}: names a device twice or one that is not there; "
            f"{kind}: {', '.join(map(str, known)) or 'none'}"
        )
    return wanted


def _one_generation(npus: Sequence[Npu]) -> str:
    generations = sorted({npu.generation for npu in npus})
    if len(generations) > 1:
        raise UsageProblem(
            f"NPUs of several generations are visible ({', '.join(generations)}), and no verdict "
            f"holds for all of them; choose those of one with {_MASK}"
        )
    return generations[0]
