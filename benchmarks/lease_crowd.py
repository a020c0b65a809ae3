"""Many processes that ask for devices at once, and what their own notes say of it.

Each process notes by the host's monotonic clock when it asked, when it had its devices, which,
and when it let go. Nothing of what is judged here comes from the locks. Beside them the machine's
own share is measured: how long the waiter of a bare flock takes to wake.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import multiprocessing
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_qwenvl.devices.lease import DevicePool
from pytest_qwenvl.devices.npu import Npu
from pytest_qwenvl.devices.taking import poll_seconds


@dataclass(frozen=True)
class Note:
    """One lease as its holder saw it; times in seconds of the monotonic clock.

    Attributes:
        used, left: when it began and ceased to use its devices.
        released: when it had given them back.
    """

    devices: tuple[str, ...]
    asked: float
    used: float
    left: float
    released: float

    @property
    def waited(self) -> float:
        """Seconds from asking to having."""
        return self.used - self.asked


def gather(
    folder: Path,
    npus: Sequence[Npu],
    *,
    processes: int,
    leases: int,
    largest: int,
    longest_hold: float,
) -> list[Note]:
    """Let processes take leases of 1 to ``largest`` devices as fast as they can; all their notes.

    Args:
        leases: how many all of them take together.
        longest_hold: seconds; each lease is held for a random part of it.
    """
    # A forked child needs no second to import what this process has imported.
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(processes)
    over = context.Event()
    machine = context.Process(target=_note_wake_ups, args=(folder, over))
    children = []
    for number in range(processes):
        count = leases // processes + (number < leases % processes)
        arguments = (folder, npus, number, count, largest, longest_hold, barrier)
        children.append(context.Process(target=_take_leases, args=arguments))
    for child in [machine, *children]:
        child.start()
    for child in children:
        child.join()
    over.set()
    machine.join()
    failed = [child.exitcode for child in children if child.exitcode]
    if failed:
        raise SystemExit(f"{len(failed)} of {processes} processes failed")
    notes = []
    for path in folder.glob("notes-*.json"):
        for devices, *times in json.loads(path.read_text(encoding="utf-8")):
            notes.append(Note(tuple(devices), *times))
    if len(notes) != leases:
        raise SystemExit(f"{len(notes)} leases were noted, {leases} were to be taken")
    return notes


def _take_leases(
    folder: Path,
    npus: Sequence[Npu],
    number: int,
    count: int,
    largest: int,
    longest_hold: float,
    barrier: Any,
) -> None:
    names = [f"npu{npu.logic_id}" for npu in npus]
    pool = DevicePool(range(len(npus)), names, folder / "locks", npus=npus)
    chance = random.Random(number)
    notes = []
    barrier.wait()
    for _ in range(count):
        wanted = chance.randint(1, largest)
        asked = time.monotonic()
        with pool.lease(wanted, f"process {number}") as lease:
            used = time.monotonic()
            time.sleep(chance.uniform(0, longest_hold))
            left = time.monotonic()
        notes.append((lease.physical, asked, used, left, time.monotonic()))
    (folder / f"notes-{number}.json").write_text(json.dumps(notes), encoding="utf-8")


def _note_wake_ups(folder: Path, over: Any) -> None:
    """How long a bare flock takes from being dropped to waking its waiter, meanwhile."""
    path = folder / "bare"
    path.touch()
    ready, dropped = multiprocessing.get_context("fork").Pipe(duplex=True)
    waiter = multiprocessing.get_context("fork").Process(target=_wake, args=(path, dropped))
    waiter.start()
    taken = []
    while not over.is_set():
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            ready.send(True)
            # Until the waiter sleeps in the kernel.
            time.sleep(0.02)
            begun = time.monotonic()
        taken.append(ready.recv() - begun)
    ready.send(False)
    waiter.join()
    (folder / "wake-ups.json").write_text(json.dumps(taken), encoding="utf-8")


def _wake(path: Path, asked: Any) -> None:
    with path.open() as file:
        while asked.recv():
            fcntl.flock(file, fcntl.LOCK_SH)
            asked.send(time.monotonic())
            fcntl.flock(file, fcntl.LOCK_UN)


def wake_ups(folder: Path) -> list[float]:
    """Seconds from when a bare flock was dropped to when its waiter ran, meanwhile."""
    noted: list[float] = json.loads((folder / "wake-ups.json").read_text(encoding="utf-8"))
    return noted


def overlaps(notes: Sequence[Note]) -> list[tuple[str, Note, Note]]:
    """Every device with two leases on it at once."""
    by_device: dict[str, list[Note]] = {}
    for note in notes:
        for device in note.devices:
            by_device.setdefault(device, []).append(note)
    found = []
    for device, its in by_device.items():
        its.sort(key=lambda note: note.used)
        found += [(device, a, b) for a, b in itertools.pairwise(its) if b.used < a.left]
    return found


def worst_wait(notes: Sequence[Note]) -> float:
    """The longest wait of any size of request, as a multiple of the mean wait of its size."""
    by_size: dict[int, list[float]] = {}
    for note in notes:
        by_size.setdefault(len(note.devices), []).append(note.waited)
    return max(max(waits) / (sum(waits) / len(waits)) for waits in by_size.values())


def hand_over_delays(notes: Sequence[Note], devices: int) -> tuple[list[float], list[float]]:
    """Seconds from when a request could have been served to when it was.

    A request can be served once it has asked, the one before it in line has been served, and
    enough devices have been given back. Two kinds: those which found enough devices when their
    turn came, and those which had to wait for devices when it was theirs already; of these, what
    they took beyond the one poll that they may.
    """
    order = sorted(notes, key=lambda note: note.used)
    at_once, polled = [], []
    for position, note in enumerate(order[1:], 1):
        before = order[:position]
        turn = max(note.asked, before[-1].used)
        ends = sorted(other.released for other in before if other.released > turn)
        busy = sum(len(other.devices) for other in before if other.released > turn)
        able = turn
        for end in ends:
            if devices - busy >= len(note.devices):
                break
            able = end
            busy -= sum(len(other.devices) for other in before if other.released == end)
        if able > turn:
            polled.append(max(0.0, note.used - able - poll_seconds(able - turn)))
        elif turn > note.asked:
            at_once.append(note.used - turn)
    return at_once, polled
