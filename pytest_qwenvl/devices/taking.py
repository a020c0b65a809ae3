"""Taking devices: in line, all at once, and only such as are fit for use.

Who is first in line tries again and again; everybody behind sleeps in the kernel. It polls, since
the kernel wakes nobody for "some of these sixteen locks", and tells of a killed holder's files
before it drops their locks. An attempt that finds nothing costs some 0.1 ms.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_qwenvl.devices.choosing import Choice, Exclusive, choose
from pytest_qwenvl.devices.fitness import Unfit, why_unfit
from pytest_qwenvl.devices.holders import explained_by_leases
from pytest_qwenvl.devices.line import Ticket, standing
from pytest_qwenvl.devices.locks import LeaseRecord, Lock, LockDirectory, read_record
from pytest_qwenvl.devices.npu import Npu
from pytest_qwenvl.errors import DevicesLostError, LeaseError

_SHORTEST_POLL_SECONDS = 0.001
_LONGEST_POLL_SECONDS = 0.05
_POLL_SHARE = 0.05

LOOK_SECONDS = 5.0
"""Between two looks at devices that were found unfit: npu-smi takes 1 to 3 s on a busy host."""

BUSY_LOOK_SECONDS = 60.0
"""The same while too few devices are free of leases anyway."""

PATIENCE_SECONDS = 600.0
"""How long to wait for devices that are free of leases to become fit for use. Another program's
short job ends in that time, and another program's server does not. What waiting cannot change,
such as bad health, is not waited for."""

_QUARANTINE_SECONDS = 1.0

Look = Callable[[], Sequence[Npu]]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is asked for; see ``DevicePool.lease``."""

    count: int
    holder: str
    exclusive: Exclusive = "devices"
    memory_utilization: float | None = None


@dataclass
class Taken:
    """Devices under lock.

    Attributes:
        devices: names of those to run on.
        locks: everything that is held, by name.
        seen: what a look showed of each device just before it was given.
        passed_over: why others that were free were not given.
    """

    holder: str
    devices: tuple[str, ...]
    locks: dict[str, Lock]
    record: LeaseRecord
    seen: dict[str, Npu] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    disposable: bool = False

    def give_back(self, name: str) -> None:
        """Let others have a device."""
        self.locks.pop(name).release(remove=self.disposable)

    def keep_locked(self, name: str, reason: str) -> Lock:
        """The lock of a device that nobody may have, with the reason in its record."""
        lock = self.locks.pop(name)
        lock.write(self.record.model_copy(update={"quarantined": reason}).written)
        return lock


@dataclass(frozen=True)
class Stock:
    """Devices, or slots, that are taken under lock.

    Attributes:
        names: of their lock files.
        npus: what is known of each; empty for slots and virtual devices.
        look: reads all NPUs of the host anew; None where there is nothing to look at.
        disposable: lock files are removed when they are given back.
    """

    locks: LockDirectory
    names: tuple[str, ...]
    npus: tuple[Npu, ...]
    look: Look | None
    run_id: str
    disposable: bool = False

    @contextlib.contextmanager
    def taken(self, request: Request, tell: Tell, patience: float) -> Iterator[Taken]:
        """Hold what was asked for; whatever of it the block did not give back goes at its end.

        Raises:
            LeaseError: too few are fit for use, or are left of the run's.
            UsageProblem: the folder of locks cannot be used, or npu-smi does not answer.
        """
        record = LeaseRecord.mine(request.holder, self.run_id, self.names, request.count)
        with standing(self.locks, record) as ticket:
            got = _Taking(self, request, tell, patience).take(ticket)
        try:
            yield got
        finally:
            for name in list(got.locks):
                got.give_back(name)


class _Taking:
    """One request on its way to its devices."""

    def __init__(self, stock: Stock, request: Request, tell: Tell, patience: float) -> None:
        self._stock = stock
        self._request = request
        self._tell = tell
        self._patience = patience
        self._seen: dict[str, Npu] = {}
        self._unfit: dict[str, Unfit] = {}
        self._looked = -LOOK_SECONDS
        self._hopeless_since: float | None = None
        self._opened: dict[str, int] = {}
        self._quarantine_read = 0.0
        self._quarantined: dict[str, str] = {}

    def take(self, ticket: Ticket) -> Taken:
        """Wait for the turn, then for the devices."""
        try:
            return self._take(ticket)
        finally:
            for descriptor in self._opened.values():
                os.close(descriptor)

    def _take(self, ticket: Ticket) -> Taken:
        first: float | None = None
        while True:
            ticket.enter()
            ticket.wait(lambda ahead: self._tell(f"{self._waits()}, after {ahead.holder}"))
            first = time.monotonic() if first is None else first
            with contextlib.ExitStack() as attempt:
                free = self._free(attempt)
                choice = self._choose_among(free)
                if choice is not None:
                    got = self._handed_over(choice, free)
                    # Whoever is next need not wait until ours is written down.
                    ticket.leave()
                    written = got.record.written
                    for lock in got.locks.values():
                        lock.write(written)
                    attempt.pop_all()
                    return got
            # What a look found is shown at once; that others hold devices, with it.
            self._tell(self._waits() + self._passed_over_text())
            if self._is_hopeless():
                # Nobody behind is to wait for what may never come.
                ticket.leave()
                time.sleep(LOOK_SECONDS)
            else:
                time.sleep(poll_seconds(time.monotonic() - first))

    def _waits(self) -> str:
        kind = "devices" if not self._stock.disposable else "devices this run may hold at once"
        return (
            f"{self._request.holder} waits for {self._request.count} of "
            f"{len(self._stock.names)} {kind}"
        )

    def _passed_over_text(self) -> str:
        if not self._unfit:
            return ""
        return "; passed over: " + self._reasons()

    def _reasons(self) -> str:
        return "; ".join(f"{name} {it.reason}" for name, it in sorted(self._unfit.items()))

    def _free(self, attempt: contextlib.ExitStack) -> dict[str, Lock]:
        """Locks of everything that nobody holds; given back with ``attempt``."""
        free = {}
        for name in self._stock.names:
            lock = self._stock.locks.try_lock(name, self._opened)
            if lock is not None:
                attempt.callback(lock.release, remove=self._stock.disposable)
                free[name] = lock
        return free

    def _choose_among(self, free: Mapping[str, Lock]) -> Choice | None:
        choice = self._choice(free, {})
        if self._stock.look is None:
            return choice
        pause = LOOK_SECONDS if choice is not None else BUSY_LOOK_SECONDS
        promising = choice is not None and self._choice(free, self._unfit) is not None
        if free and (promising or time.monotonic() - self._looked >= pause):
            self._look_at(free)
            return self._choice(free, self._unfit)
        return None

    def _choice(self, names: Collection[str], unfit: Mapping[str, Unfit]) -> Choice | None:
        at = {name: position for position, name in enumerate(self._stock.names)}
        return choose(
            self._request.count,
            [at[name] for name in names if name not in unfit],
            self._stock.npus,
            len(at),
            self._request.exclusive,
            [at[name] for name in names if name not in unfit or not unfit[name].in_use],
        )

    def _look_at(self, free: Collection[str]) -> None:
        assert self._stock.look is not None
        seen = npus_by_name(self._stock.look())
        self._looked = time.monotonic()
        self._seen = {name: seen[name] for name in free if name in seen}
        explained = explained_by_leases(self._stock.locks.path, self._stock.names)
        self._unfit = {}
        for name in free:
            unfit: Unfit | None = Unfit("is no longer shown by npu-smi", in_use=True)
            if name in seen:
                unfit = why_unfit(seen[name], self._request.memory_utilization, explained)
            if unfit is not None:
                self._unfit[name] = unfit
        if self._unfit:
            self._tell(f"{self._request.holder}: passed over: {self._reasons()}")

    def _is_hopeless(self) -> bool:
        """Whether even the end of all leases would not leave enough.

        Raises:
            DevicesLostError: and that cannot change while this run lasts.
            LeaseError: and that did not change for long enough.
        """
        self._read_quarantine()
        names = [name for name in self._stock.names if name not in self._quarantined]
        if self._choice(names, {}) is None:
            reasons = "; ".join(f"{name} {it}" for name, it in sorted(self._quarantined.items()))
            raise DevicesLostError(
                f"{self._request.holder} needs {self._request.count} devices, and too few are "
                f"left of {len(self._stock.names)} since this run quarantined some: {reasons}"
            )
        if self._choice(names, self._unfit) is not None:
            self._hopeless_since = None
            return False
        now = time.monotonic()
        if self._hopeless_since is None:
            self._hopeless_since = now
        # A sick chip does not get well, and an idle one no larger, by waiting.
        lasting = {name: it for name, it in self._unfit.items() if not it.in_use}
        at_once = self._choice(names, lasting) is None
        if at_once or now - self._hopeless_since >= self._patience:
            when = "are fit" if at_once else f"were fit for {self._patience:g} s"
            raise LeaseError(
                f"{self._request.holder} needs {self._request.count} of "
                f"{len(self._stock.names)} devices, and too few {when}: "
                f"{self._reasons()}; end what uses them, or show this run others with "
                "ASCEND_RT_VISIBLE_DEVICES"
            )
        return True

    def _read_quarantine(self) -> None:
        """What workers of this run keep locked till its end; waiting for that would be for ever."""
        now = time.monotonic()
        if now - self._quarantine_read < _QUARANTINE_SECONDS:
            return
        self._quarantine_read = now
        for name in self._stock.names:
            record = read_record(self._stock.locks.path / name)
            if record and record.quarantined and record.run_id == self._stock.run_id:
                self._quarantined[name] = record.quarantined

    def _handed_over(self, choice: Choice, free: Mapping[str, Lock]) -> Taken:
        names = self._stock.names
        held = tuple(names[at] for at in choice.held)
        record = LeaseRecord.mine(
            self._request.holder, self._stock.run_id, held, self._request.count
        )
        for name in free.keys() - set(held):
            free[name].release(remove=self._stock.disposable)
        return Taken(
            holder=self._request.holder,
            devices=tuple(names[at] for at in choice.devices),
            locks={name: free[name] for name in held},
            record=record,
            seen={name: self._seen[name] for name in held if name in self._seen},
            passed_over={name: it.reason for name, it in self._unfit.items()},
            disposable=self._stock.disposable,
        )


def poll_seconds(waited: float) -> float:
    """Until the next attempt of one who has been first in line for so many seconds.

    A share of that time, so that short leases are handed over soon and polling adds at most that
    share to a wait; during long ones it costs half a percent of a core.
    """
    return min(max(_POLL_SHARE * waited, _SHORTEST_POLL_SECONDS), _LONGEST_POLL_SECONDS)


def npus_by_name(npus: Sequence[Npu]) -> dict[str, Npu]:
    """NPUs by the host-wide identity that leases are taken on."""
    return {f"npu{npu.logic_id}": npu for npu in npus}
