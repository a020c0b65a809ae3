"""What every device of a host is doing, for people and scripts: nothing is taken or changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_qwenvl.devices.fitness import why_unfit
from pytest_qwenvl.devices.holders import Holding, descends_from, holdings
from pytest_qwenvl.devices.inventory import Inventory
from pytest_qwenvl.devices.locks import LeaseRecord
from pytest_qwenvl.devices.npu import Npu, NpuProcess

State = Literal["free", "leased", "quarantined", "asked for", "unfit"]


@dataclass(frozen=True)
class DeviceState:
    """One device.

    Attributes:
        name: its host-wide identity.
        index: where it is among those this process may see.
        state: ``asked for`` is a device under lock that was not handed over yet, ``unfit`` one
            that no lease holds and none would be given.
        npu: what npu-smi says of it; None for a virtual device.
        lease: who holds it.
        stale: what a holder that was killed left in the file of a device nobody holds.
        foreign: processes on it that belong to no lease, as far as can be seen from here: in a
            container an engine's own may be among them.
        unfit: why it would not be given; empty otherwise.
    """

    name: str
    index: int
    state: State
    npu: Npu | None = None
    lease: LeaseRecord | None = None
    stale: LeaseRecord | None = None
    foreign: tuple[NpuProcess, ...] = ()
    unfit: str = ""


def states_of(inventory: Inventory, directory: Path) -> list[DeviceState]:
    """What each device of the inventory is doing, by the folder of locks it is leased in."""
    held = holdings(directory, inventory.physical)
    npus: Mapping[str, Npu] = dict(zip(inventory.physical, inventory.npus, strict=False))
    holders = {it.record.pid for it in held.values() if it.held and it.record is not None}
    return [
        _state_of(name, index, held[name], npus.get(name), holders)
        for index, name in zip(inventory.devices, inventory.physical, strict=True)
    ]


def _state_of(
    name: str, index: int, holding: Holding, npu: Npu | None, holders: set[int]
) -> DeviceState:
    processes = npu.processes if npu else ()
    foreign = tuple(it for it in processes if not descends_from(it, holders))
    record = holding.record
    if holding.held:
        state: State = "leased" if record is not None else "asked for"
        if record is not None and record.quarantined:
            state = "quarantined"
        return DeviceState(name, index, state, npu, record, foreign=foreign)
    unfit = why_unfit(npu, explained=lambda it: it not in foreign) if npu else None
    return DeviceState(
        name,
        index,
        "unfit" if unfit else "free",
        npu,
        stale=record,
        foreign=foreign,
        unfit=unfit.reason if unfit else "",
    )
