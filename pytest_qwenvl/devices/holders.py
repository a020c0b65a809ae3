"""Who holds what in a folder of locks, read without taking anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_qwenvl.devices.locks import LeaseRecord, is_locked, read_record
from pytest_qwenvl.devices.npu import NpuProcess


@dataclass(frozen=True)
class Holding:
    """What the lock of one device says.

    Attributes:
        held: whether somebody has the lock, which is the truth.
        record: what the holder wrote; None in the moment before it writes. Where nobody has the
            lock, what a killed holder left behind.
    """

    held: bool
    record: LeaseRecord | None


def holdings(directory: Path, names: Iterable[str]) -> dict[str, Holding]:
    """Who holds each of these devices."""
    found = {}
    for name in names:
        path = directory / name
        found[name] = Holding(is_locked(path), read_record(path))
    return found


def explained_by_leases(directory: Path, names: Iterable[str]) -> Callable[[NpuProcess], bool]:
    """Tells whether a process descends from the holder of any lease on these devices."""
    pids = {
        holding.record.pid
        for holding in holdings(directory, names).values()
        if holding.held and holding.record is not None
    }
    return lambda process: descends_from(process, pids)


def descends_from(process: NpuProcess, pids: set[int]) -> bool:
    """Whether a process on an NPU is one of these or descends from one.

    npu-smi counts as the host does. Where this process does not, as in a container, nothing is
    known of the process unless npu-smi tells its pid in the container too.
    """
    import psutil

    if not pids:
        return False
    try:
        one = psutil.Process(process.pid_in_container or process.pid)
        return one.pid in pids or any(parent.pid in pids for parent in one.parents())
    except psutil.Error:
        return False
