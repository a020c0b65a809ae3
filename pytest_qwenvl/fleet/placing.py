"""Which deployment goes to which host now (pure).

Dearest first, each to the host where it leaves the smallest rest, so that large holes stay for
what needs them. What cannot begin keeps the host that will be free for it first: smaller work is
put there only if it is expected to be over by then, or a stream of small things would keep the
large waiting for ever.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

# How many that cannot begin keep a host each: more would leave too much of the fleet idle.
_MOST_KEPT = 8


@dataclass(frozen=True)
class Job:
    """A deployment to be run.

    Attributes:
        id: ``MODEL/DEPLOYMENT``.
        devices: how many its child pytest is given.
        seconds: how long it is expected to take, start-up included.
        hardware: generations it is for; empty for any.
        labels: what its host must carry.
        whole_host: nobody else of the fleet may be on its host meanwhile.
    """

    id: str
    model: str
    devices: int
    seconds: float
    hardware: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    whole_host: bool = False


@dataclass(frozen=True)
class Host:
    """A node of the cluster that lives.

    Attributes:
        id: as the cluster identifies it; ``name``: as people do, unique within the fleet.
        devices: how many it has.
        hardware: their generation, as its inventory names it.
        models: those whose weights it has.
    """

    id: str
    name: str
    devices: int
    address: str = ""
    hardware: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    models: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Busy:
    """Devices of a host that a deployment has, until when is expected (seconds, any clock)."""

    host: str
    devices: int
    until: float


def why_not(job: Job, host: Host) -> str:
    """Why a host can never run a deployment; empty when it can."""
    if host.devices < job.devices:
        return f"has {host.devices} of {job.devices} devices"
    if job.hardware and host.hardware not in job.hardware:
        return f"is {host.hardware or 'of no known generation'}, not {' or '.join(job.hardware)}"
    lacking = [f"{name}={value}" for name, value in job.labels if (name, value) not in host.labels]
    if lacking:
        return f"lacks the label {', '.join(lacking)}"
    return "" if job.model in host.models else f"lacks the weights of {job.model}"


def devices_on(job: Job, host: Host) -> int:
    """How many devices of a host a deployment takes from others."""
    return host.devices if job.whole_host else job.devices


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Dearest first: what takes longest, of equals what takes most devices.

    On many hosts of few devices this ends sooner than an order by device seconds, since what needs
    many devices has hosts kept for it anyway. The same for the same jobs.
    """
    return sorted(jobs, key=lambda job: (-job.seconds, -job.devices, job.id))


def lower_bound(jobs: Iterable[Job], hosts: Iterable[Host]) -> float:
    """Seconds that no order can do it in: the longest job, or all devices always busy."""
    jobs = list(jobs)
    devices = sum(host.devices for host in hosts)
    area = sum(job.devices * job.seconds for job in jobs) / devices
    return max([area, *(job.seconds for job in jobs)])


def place(
    waiting: Sequence[Job],
    hosts: Sequence[Host],
    busy: Iterable[Busy],
    now: float,
    *,
    most: float = math.inf,
    avoided: Mapping[str, Collection[str]] | None = None,
    trouble: Mapping[str, int] | None = None,
) -> list[tuple[Job, Host]]:
    """What begins now, and where.

    Args:
        waiting: in the order in which they are to begin.
        now: by the clock of ``busy``.
        most: devices that the fleet may hold at once (``--npus``).
        avoided: by job, ids of hosts it was lost on; taken only where there is no other.
        trouble: by host, how many attempts were lost there; others are taken first.
    """
    avoided, trouble = avoided or {}, trouble or {}
    busy = list(busy)
    free = {host.id: host.devices for host in hosts}
    for one in busy:
        if one.host in free:
            free[one.host] -= one.devices
    budget = most - sum(one.devices for one in busy)
    kept: dict[str, float] = {}
    blocked = 0
    placed = []
    for job in waiting:
        if blocked >= _MOST_KEPT and not any(free.values()):
            break
        suited = [host for host in hosts if not why_not(job, host)]
        elsewhere = [host for host in suited if host.id not in avoided.get(job.id, ())]
        suited = elsewhere or suited
        open_now = [
            host
            for host in suited
            if free[host.id] >= devices_on(job, host)
            and now + job.seconds <= kept.get(host.id, math.inf)
            and devices_on(job, host) <= budget
        ]
        if open_now:
            host = min(
                open_now,
                key=lambda its: (trouble.get(its.id, 0), free[its.id], its.devices, its.id),
            )
            free[host.id] -= devices_on(job, host)
            budget -= devices_on(job, host)
            busy.append(Busy(host.id, devices_on(job, host), now + job.seconds))
            placed.append((job, host))
        elif suited and blocked < _MOST_KEPT:
            blocked += 1
            others = [host for host in suited if host.id not in kept]
            if others:
                times = {host.id: _free_at(job, host, busy, now) for host in others}
                first = min(others, key=lambda its: (times[its.id], its.devices, its.id))
                kept[first.id] = times[first.id]
    return placed


def _free_at(job: Job, host: Host, busy: Iterable[Busy], now: float) -> float:
    """When a host is expected to have the devices for a job."""
    free = host.devices - sum(one.devices for one in busy if one.host == host.id)
    at = now
    for one in sorted((it for it in busy if it.host == host.id), key=lambda it: it.until):
        if free >= devices_on(job, host):
            break
        free += one.devices
        # What takes longer than was thought may end at any moment.
        at = max(at, one.until)
    return at
