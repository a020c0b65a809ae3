"""Whether a device may be given to an engine, and whether an engine has left it (pure)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_qwenvl.devices.npu import Generation, Npu, NpuProcess

# Memory in use above which somebody uses a chip, in MiB. Idle ones were reported with 2,874 to
# 3,419 MiB of HBM (vllm-ascend#5588, #12980, #1130) and 1,405 to 1,529 MiB of a 310P's DDR
# (Syllo/nvtop#421, vllm-ascend#2416); see fixtures/hosts/README.md.
_IDLE_MIB: dict[Generation, int] = {"a2": 3584, "a3": 3584, "a5": 3584, "310p": 2048}

# What an idle chip's use may differ by without a reason, in MiB: the idle chips of one host were
# reported with up to 545 between them.
_DRIFT_MIB = 600


@dataclass(frozen=True)
class Unfit:
    """Why a device that no lease holds is not given out.

    Attributes:
        reason: as the end of a sentence that begins with the device.
        in_use: somebody else uses it, so it may not even stay empty beside an exclusive lease.
    """

    reason: str
    in_use: bool


def why_unfit(
    npu: Npu,
    memory_utilization: float | None = None,
    explained: Callable[[NpuProcess], bool] = lambda _: False,
) -> Unfit | None:
    """What speaks against giving out an NPU that no lease holds; None when nothing does.

    Args:
        npu: as npu-smi shows it now.
        memory_utilization: share of its memory that the engine will take
            (``gpu_memory_utilization``); None where nobody knows.
        explained: whether a process belongs to a lease on another device. What is not explained
            is foreign. In a container most processes cannot be seen; memory tells of them.
    """
    used, total = npu.memory_used_mib, npu.memory_total_mib
    foreign = [process for process in npu.processes if not explained(process)]
    if foreign:
        return Unfit(f"is used by {described(foreign)}", in_use=True)
    if used is not None and used > _IDLE_MIB[npu.generation]:
        idle = _IDLE_MIB[npu.generation]
        by = described(npu.processes) or "processes that cannot be seen from here"
        return Unfit(f"has {used} MiB in use by {by} (idle: at most {idle})", in_use=True)
    if npu.health != "OK":
        return Unfit(f"has health {npu.health}", in_use=False)
    if memory_utilization is not None and used is not None and total is not None:
        free, needed = total - used, memory_utilization * total
        if free < needed:
            return Unfit(
                f"has {free} of {total} MiB free, and gpu_memory_utilization = "
                f"{memory_utilization:g} needs {needed:.0f}",
                in_use=False,
            )
    return None


def why_not_back(before: Npu, now: Npu) -> str:
    """Why a device cannot be given back, as the end of a sentence; empty when it can.

    Args:
        before: as it was when its lease began.
        now: as it is after its engine has ended.
    """
    used = now.memory_used_mib
    if used is not None:
        idle = _IDLE_MIB[now.generation]
        allowed = max((before.memory_used_mib or 0) + _DRIFT_MIB, idle)
        if used > allowed:
            holders = f", held by {described(now.processes)}" if now.processes else ""
            return f"has {used} MiB in use{holders} ({before.memory_used_mib} before its lease)"
    elif now.processes:
        return f"is used by {described(now.processes)}"
    return ""


def described(processes: list[NpuProcess] | tuple[NpuProcess, ...]) -> str:
    """Processes in words: pid, name, memory."""
    return ", ".join(f"pid {it.pid} ({it.name}, {it.memory_mib} MiB)" for it in processes)
