"""What reading the inventory and taking leases costs, alone and in a crowd."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure
from benchmarks.lease_crowd import gather, hand_over_delays, overlaps, wake_ups, worst_wait
from fixtures.hosts.playing import PlayedHost
from pytest_qwenvl.devices.commands import run_together
from pytest_qwenvl.devices.inventory import Inventory, take_inventory
from pytest_qwenvl.devices.lease import DevicePool

_HOST = "a3-16x910c"
_MEMORY = Path("/dev/shm")
_REPEATS = 11
_LEASES = 200
_CROWD = {"processes": 64, "leases": 2000, "largest": 8, "longest_hold": 0.02}


def measure() -> list[Figure]:
    """The inventory in seconds, a lease in ms, and 2,000 leases among 64 processes."""
    # In memory: a disk that others write to would be measured with every ticket.
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        inventory, reading = _inventory(Path(folder))
        return [reading, _free_lease(inventory, Path(folder)), *_crowd(inventory, Path(folder))]


def _inventory(folder: Path) -> tuple[Inventory, Figure]:
    host = PlayedHost(_HOST, folder / "host")
    environment = {**os.environ, **host.environment}
    environment.pop("ASCEND_RT_VISIBLE_DEVICES", None)
    tool = str(host.path / "npu-smi")
    commands = [(tool, "info"), (tool, "info", "-m"), (tool, "info", "-t", "topo")]
    beyond = []
    # Pairs, so that a busy moment of the machine weighs on both sides.
    for _ in range(_REPEATS):
        begun = time.monotonic()
        run_together(commands, environment, 60)
        between = time.monotonic()
        inventory = take_inventory("npu", environment)
        beyond.append((time.monotonic() - between) - (between - begun))
    seconds = max(median(beyond), 0.0)
    return inventory, Figure("inventory of 16 NPUs, beyond npu-smi itself", seconds, 0.2, "s")


def _free_lease(inventory: Inventory, folder: Path) -> Figure:
    pool = DevicePool(inventory.devices, inventory.physical, folder / "locks", npus=inventory.npus)
    slowest = 0.0
    for count in (1, 2, 8, 16):
        taken = []
        for _ in range(_LEASES // 4):
            begun = time.monotonic()
            with pool.lease(count, "benchmark"):
                pass
            taken.append(1000 * (time.monotonic() - begun))
        slowest = max(slowest, median(taken))
    return Figure("taking and giving back a free lease of 1 to 16 of 16 NPUs", slowest, 5, "ms")


def _crowd(inventory: Inventory, folder: Path) -> list[Figure]:
    (folder / "crowd").mkdir()
    notes = gather(folder / "crowd", inventory.npus, **_CROWD)  # type: ignore[arg-type]
    at_once, polled = hand_over_delays(notes, len(inventory.devices))
    woken = median(at_once) - median(wake_ups(folder / "crowd"))
    return [
        Figure("devices with two leases at once, in 2,000 leases", len(overlaps(notes)), 0, ""),
        Figure("longest wait, by the mean wait of its size", worst_wait(notes), 3, "times"),
        Figure("hand-over to the next in line, beyond its wake-up", 1000 * woken, 1, "ms"),
        Figure("hand-over to the first in line, beyond its poll", 1000 * median(polled), 1, "ms"),
    ]
