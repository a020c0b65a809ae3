"""The line in which requests stand, in order of asking.

A ``flock`` alone keeps no order: Linux wakes the first in line since 5.0 and all at once before,
and in both a newcomer may take the lock before whoever was woken runs. So a request draws a number,
and its ticket is a locked file of that name. It sleeps in the kernel on the ticket of the last one
before it that wants some of the same devices, and is woken when that one has been served, gave up
or was killed. Who wants other devices is not waited for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_qwenvl.devices.locks import LeaseRecord, LockDirectory, explained, read_record

_FOLDER = "line"
_DIGITS = 12


class Ticket:
    """A place in line; ends with ``leave`` or with this process."""

    def __init__(self, locks: LockDirectory, folder: Path, record: LeaseRecord) -> None:
        self._locks = locks
        self._folder = folder
        self._record = record
        self._number = 0
        self._descriptor = -1

    def enter(self) -> None:
        """Go to the end of the line; for one who left it, back to the old place."""
        if self._descriptor >= 0:
            return
        with explained(self._folder), self._locks.turn() as counter:
            if not self._number:
                self._number = self._draw(counter)
            self._descriptor = self._locked_file()

    def leave(self) -> None:
        """Let those behind pass."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            self._path(self._number).unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def wait(self, told: Callable[[LeaseRecord], None]) -> None:
        """Sleep until nobody is before us who wants some of the same devices.

        Args:
            told: is given the one that is waited for, each time before sleeping.
        """
        while (ahead := self._ahead()) is not None:
            descriptor, record = ahead
            try:
                told(record)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            finally:
                os.close(descriptor)

    def _draw(self, counter: int) -> int:
        said = os.pread(counter, 32, 0)
        last = int(said) if said.isdigit() else 0
        number = max([last, *numbers_in(self._folder)]) + 1
        os.pwrite(counter, f"{number:0{_DIGITS}d}".encode(), 0)
        return number

    def _locked_file(self) -> int:
        path = self._path(self._number)
        hidden = path.with_name(f".{path.name}")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(hidden, flags, 0o666)
        try:
            os.fchmod(descriptor, 0o666)
            os.write(descriptor, self._record.written)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Visible only when it is locked and whole.
            os.rename(hidden, path)
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(hidden)
            raise
        return descriptor

    def _ahead(self) -> tuple[int, LeaseRecord] | None:
        """The last live ticket before ours whose wishes meet ours, opened."""
        for number in sorted(numbers_in(self._folder), reverse=True):
            if number >= self._number:
                continue
            path = self._path(number)
            record = read_record(path)
            if record is None or set(record.devices).isdisjoint(self._record.devices):
                continue
            descriptor = _open_live(path)
            if descriptor is not None:
                return descriptor, record
        return None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:0{_DIGITS}d}"


@contextlib.contextmanager
def standing(locks: LockDirectory, record: LeaseRecord) -> Iterator[Ticket]:
    """Stand in line for the length of a ``with`` block.

    Raises:
        UsageProblem: the folder of tickets cannot be written.
    """
    ticket = Ticket(locks, locks.folder(_FOLDER), record)
    ticket.enter()
    try:
        yield ticket
    finally:
        ticket.leave()


def in_line(directory: Path) -> list[LeaseRecord]:
    """Everybody who stands in line in this folder of locks, first come first."""
    folder = directory / _FOLDER
    found = []
    for number in sorted(numbers_in(folder)):
        path = folder / f"{number:0{_DIGITS}d}"
        record = read_record(path)
        descriptor = _open_live(path) if record is not None else None
        if record is not None and descriptor is not None:
            os.close(descriptor)
            found.append(record)
    return found


def numbers_in(folder: Path) -> list[int]:
    """Numbers of all tickets, those left by the dead among them; in no order."""
    try:
        return [int(name) for name in os.listdir(folder) if name.isdigit()]
    except FileNotFoundError:
        return []


def _open_live(path: Path) -> int | None:
    """An open ticket that somebody holds; None for one whose holder is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return descriptor
    os.close(descriptor)
    # Numbers are never drawn twice, so nobody else's ticket can have come here meanwhile. In a
    # sticky folder only its owner and root can remove it; to others it is merely of no effect.
    with contextlib.suppress(OSError):
        path.unlink()
    return None
