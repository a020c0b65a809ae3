"""How much of a host's processor time went to others while something was measured.

What the kernel counts for the whole host, less what this process and all below it used: the engine,
the client and pytest itself. A hypervisor that gave the time to another guest is counted apart.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
_CPU = re.compile(r"^cpu +(.*)$", re.MULTILINE)
# Of the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
_IDLE = (3, 4)
_STEAL = 7


@dataclass(frozen=True)
class HostTimes:
    """Processor seconds since the host began.

    Attributes:
        total: of all its CPUs, idle ones included.
        used: of any process.
        stolen: taken by the hypervisor.
        own: of this process and those below it, dead ones included.
    """

    total: float
    used: float
    stolen: float
    own: float


@dataclass(frozen=True)
class HostShare:
    """Shares (0 to 1) of a host's processor time over a while.

    Attributes:
        others: used by processes that are neither this one nor below it.
        stolen: taken by the hypervisor.
    """

    others: float
    stolen: float


def host_times(path: Path = _STAT) -> HostTimes | None:
    """What was used until now; None where the kernel does not say."""
    try:
        found = _CPU.search(path.read_text())
        ticks = [int(it) for it in found[1].split()[:8]] if found else []
        per_second = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
    if len(ticks) <= _STEAL:
        return None
    seconds = [it / per_second for it in ticks]
    idle = sum(seconds[it] for it in _IDLE)
    stolen = seconds[_STEAL]
    total = sum(seconds)
    return HostTimes(total, total - idle - stolen, stolen, _own_seconds())


def share_between(before: HostTimes | None, after: HostTimes | None) -> HostShare | None:
    """What others used from ``before`` to ``after``; None where either is unknown or alike."""
    if before is None or after is None or after.total <= before.total:
        return None
    total = after.total - before.total
    others = (after.used - before.used) - (after.own - before.own)
    # The kernel counts whole ticks, in which several processes may have run.
    share = min(1.0, max(0.0, others / total))
    return HostShare(share, min(1.0, max(0.0, (after.stolen - before.stolen) / total)))


def _own_seconds() -> float:
    """Of this process and those below it; what ended is in its parent's time."""
    import psutil

    me = psutil.Process()
    seconds = 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            seconds += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return seconds
