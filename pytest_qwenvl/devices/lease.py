"""Leases: the exclusive right to some devices of a host, all of a request or nothing.

Exclusive across xdist workers, unrelated runs and users (``locks.py``), in order of asking
(``line.py``), on devices that were looked at anew (``taking.py``), until their memory is back
(``returning.py``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_qwenvl.devices.choosing import Exclusive, devices_held
from pytest_qwenvl.devices.inventory import Inventory
from pytest_qwenvl.devices.locks import Lock, LockDirectory, default_lock_directory
from pytest_qwenvl.devices.npu import Npu
from pytest_qwenvl.devices.reading import read_npus
from pytest_qwenvl.devices.returning import RETURN_SECONDS, wait_for_memory
from pytest_qwenvl.devices.taking import PATIENCE_SECONDS, Look, Request, Stock
from pytest_qwenvl.errors import UsageProblem


@dataclass(frozen=True)
class Lease:
    """The exclusive right to some devices.

    Attributes:
        devices: indices into what the caller may see.
        physical: their host-wide identities.
        waited: seconds from asking to getting.
        held: host-wide identities of everything that is kept from others: ``physical``, and what
            stays empty beside it.
        passed_over: why devices that nobody leased were not given, by host-wide identity.
    """

    devices: tuple[int, ...]
    physical: tuple[str, ...]
    waited: float
    held: tuple[str, ...] = ()
    passed_over: Mapping[str, str] = field(default_factory=dict, hash=False)


class DevicePool:
    """Takes and gives back leases on the devices of one inventory.

    Args:
        devices: indices into what the caller may see.
        physical: host-wide identity of each, the name of its lock file.
        lock_directory: shared by all runs on the host.
        allowance: names of slots that bound what this run holds at once (``--npus``): the
            workers of one run share them, so that they do not together hold more.
        npus: what is known of each device, to choose neighbours by; empty for virtual ones.
        look: reads anew what is known of all NPUs of the host, by whatever means; None where
            there is nothing to look at.
        run_id: the run this pool belongs to; its workers have pools of the same.
        patience: seconds for which a request waits although even all leases' end would not
            leave it enough devices that are fit for use.
        return_seconds: seconds within which an ended engine's memory must be back.

    Attributes:
        quarantined: devices that this pool keeps locked since their memory did not come back,
            and why, by host-wide identity.

    Raises:
        UsageProblem: locks cannot be kept in the folder for them.
    """

    def __init__(
        self,
        devices: Sequence[int],
        physical: Sequence[str],
        lock_directory: Path | None = None,
        allowance: Sequence[str] = (),
        *,
        npus: Sequence[Npu] = (),
        look: Look | None = None,
        run_id: str = "",
        patience: float = PATIENCE_SECONDS,
        return_seconds: float = RETURN_SECONDS,
    ) -> None:
        run_id = run_id or f"pid-{os.getpid()}"
        locks = LockDirectory(lock_directory or default_lock_directory())
        self._devices = dict(zip(physical, devices, strict=True))
        self._stock = Stock(locks, tuple(physical), tuple(npus), look, run_id)
        self._slots = Stock(locks, tuple(allowance), (), None, run_id, disposable=True)
        self._patience = patience
        self._return_seconds = return_seconds
        self._quarantine: dict[str, Lock] = {}
        self.quarantined: dict[str, str] = {}

    @classmethod
    def of_inventory(
        cls,
        inventory: Inventory,
        *,
        most: int | None = None,
        run_id: str = "",
        environment: Mapping[str, str] | None = None,
        lock_directory: Path | None = None,
    ) -> DevicePool:
        """The pool of a host's devices, which looks at NPUs with ``npu-smi`` where there is one.

        Args:
            most: how many the run may hold at once (``--npus``); None for all.
            environment: what npu-smi is found in and runs under (``os.environ``).
        """
        environment = dict(os.environ if environment is None else environment)
        tool = shutil.which("npu-smi", path=environment.get("PATH")) if inventory.npus else None
        bounded = most is not None and most < len(inventory.devices)
        return cls(
            inventory.devices,
            inventory.physical,
            lock_directory,
            [f"run-{run_id}-slot{index}" for index in range(most or 0)] if bounded else (),
            npus=inventory.npus,
            look=None if tool is None else (lambda: read_npus(tool, environment)),
            run_id=run_id,
        )

    @contextlib.contextmanager
    def lease(
        self,
        count: int,
        holder: str,
        waiting: Callable[[str], None] | None = None,
        *,
        exclusive: Exclusive = "devices",
        memory_utilization: float | None = None,
    ) -> Iterator[Lease]:
        """Hold ``count`` devices for the length of a ``with`` block.

        Waits while others hold them, in order of asking. Each device is looked at before it is
        given; sick ones, such as others use and such as have too little free memory are passed
        over. At the block's end, when nothing may run on them any more, each is given back once
        its memory is back; one whose memory stays is quarantined: it remains locked until this
        process ends.

        Args:
            holder: what it is for, shown to whoever waits.
            waiting: is told, whenever it changes, what is waited for and what is passed over.
            exclusive: what else nobody may use meanwhile; it counts against the allowance.
            memory_utilization: share of a device's memory that must be free.

        Raises:
            UsageProblem: more devices than there are, or more than the run's allowance; the
                folder of locks cannot be used; npu-smi does not answer.
            DevicesLostError: too few devices are left since this run quarantined some.
            LeaseError: too few devices are fit for use, and that cannot change or did not within
                the pool's patience.
        """
        names = self._stock.names
        needed = devices_held(count, exclusive, self._stock.npus, len(names))
        most = min(len(names), len(self._slots.names) or len(names))
        if needed > most:
            whole = "" if exclusive == "devices" else f", which with its whole {exclusive} are"
            raise UsageProblem(
                f"{holder} needs {count} devices{f'{whole} {needed}' if whole else ''}; this run "
                f"may hold {most}"
            )
        tell = _Teller(waiting)
        asked = time.monotonic()
        with contextlib.ExitStack() as held:
            if self._slots.names:
                request = Request(needed, holder)
                taken = held.enter_context(self._slots.taken(request, tell, self._patience))
            request = Request(count, holder, exclusive, memory_utilization)
            taken = held.enter_context(self._stock.taken(request, tell, self._patience))
            try:
                yield Lease(
                    devices=tuple(self._devices[name] for name in taken.devices),
                    physical=taken.devices,
                    waited=time.monotonic() - asked,
                    held=tuple(taken.locks),
                    passed_over=taken.passed_over,
                )
            finally:
                left = wait_for_memory(taken, self._stock.look, self._return_seconds, tell)
                for name, reason in left.items():
                    self._quarantine[name] = taken.keep_locked(name, reason)
                    self.quarantined[name] = reason

    def release_quarantined(self) -> None:
        """Give back what was kept locked; for the end of a run."""
        for lock in self._quarantine.values():
            lock.release()
        self._quarantine.clear()


class _Teller:
    """Passes on what changed since it was last told."""

    def __init__(self, told: Callable[[str], None] | None) -> None:
        self._told = told
        self._last = ""

    def __call__(self, text: str) -> None:
        if text != self._last and self._told is not None:
            self._told(text)
        self._last = text
