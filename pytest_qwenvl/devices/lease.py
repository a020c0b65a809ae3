"""Who holds which device: all of a request or nothing, host-wide, released by the kernel.

One lock file a device lies in a directory that every run on the host shares. A lock is an
advisory ``flock`` on an open file: it is gone when its holder dies, even by SIGKILL. The JSON in
the file is for people; the lock is the truth.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_qwenvl.errors import UsageProblem

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Lease:
    """The exclusive right to some devices.

    Attributes:
        devices: indices into what the caller may see.
        physical: their host-wide identities.
        waited: seconds from asking to getting.
    """

    devices: tuple[int, ...]
    physical: tuple[str, ...]
    waited: float


def default_lock_directory() -> Path:
    """Where every run on this host looks for locks, whoever started it."""
    return Path(tempfile.gettempdir()) / "pytest-qwenvl-leases"


class DevicePool:
    """Takes and gives back leases on the devices of one inventory.

    Args:
        devices: indices into what the caller may see.
        physical: host-wide identity of each, the name of its lock file.
        lock_directory: shared by all runs on the host.
        allowance: names of slots that bound what this run holds at once (``--npus``): the
            workers of one run share them, so that they do not together hold more.
    """

    def __init__(
        self,
        devices: Sequence[int],
        physical: Sequence[str],
        lock_directory: Path | None = None,
        allowance: Sequence[str] = (),
    ) -> None:
        self._devices = tuple(zip(devices, physical, strict=True))
        self._directory = lock_directory or default_lock_directory()
        self._allowance = tuple(allowance)
        self._prepare()

    def _prepare(self) -> None:
        try:
            if not self._directory.is_dir():
                self._directory.mkdir(parents=True, exist_ok=True)
                # Every user of the host takes locks here, as in /tmp itself.
                self._directory.chmod(0o1777)
            os.close(self._open(self._directory / "turn"))
        except OSError as problem:
            raise UsageProblem(
                f"cannot keep device locks in {self._directory}: {problem}; make it writable for "
                f"every user of this host"
            ) from None

    def _open(self, path: Path) -> int:
        # Without O_TRUNC: the record in it belongs to whoever holds the lock now. Without O_CREAT
        # first: a kernel with protected_regular refuses that on another user's file.
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            with contextlib.suppress(PermissionError):
                os.fchmod(descriptor, 0o666)
            return descriptor

    @contextlib.contextmanager
    def lease(
        self,
        count: int,
        holder: str,
        waiting: Callable[[str], None] | None = None,
    ) -> Iterator[Lease]:
        """Hold ``count`` devices for the length of a ``with`` block.

        Waits while others hold them, in order of asking, and says so through ``waiting``.

        Raises:
            UsageProblem: more devices than there are, or more than the run's allowance.
        """
        most = min(len(self._devices), len(self._allowance) or len(self._devices))
        if count > most:
            raise UsageProblem(f"{holder} needs {count} devices; this run may hold {most}")
        asked = time.monotonic()
        with contextlib.ExitStack() as stack:
            taken = self._take(count, stack, waiting, holder)
            devices = tuple(index for index, _ in taken)
            physical = tuple(name for _, name in taken)
            yield Lease(devices, physical, time.monotonic() - asked)

    def _take(
        self,
        count: int,
        stack: contextlib.ExitStack,
        waiting: Callable[[str], None] | None,
        holder: str,
    ) -> list[tuple[int, str]]:
        told = False
        # Whoever holds the turn is served next: a large request is not starved by small ones.
        with self._locked("turn", blocking=True):
            while True:
                with contextlib.ExitStack() as attempt:
                    slots = self._try(self._allowance, count, attempt, holder)
                    names = [name for _, name in self._devices]
                    free = self._try(names, count, attempt, holder)
                    if len(free) == count and (len(slots) == count or not self._allowance):
                        stack.enter_context(attempt.pop_all())
                        return [pair for pair in self._devices if pair[1] in free]
                if waiting is not None and not told:
                    waiting(f"{holder} waits for {count} of {len(self._devices)} devices")
                    told = True
                time.sleep(_POLL_SECONDS)

    def _try(
        self, names: Sequence[str], count: int, stack: contextlib.ExitStack, holder: str
    ) -> list[str]:
        got: list[str] = []
        for name in names:
            if len(got) == count:
                break
            with contextlib.suppress(BlockingIOError):
                stack.enter_context(self._locked(name, blocking=False, holder=holder))
                got.append(name)
        return got

    @contextlib.contextmanager
    def _locked(self, name: str, *, blocking: bool, holder: str = "") -> Iterator[None]:
        path = self._directory / name
        descriptor = self._open(path)
        try:
            flags = fcntl.LOCK_EX if blocking else fcntl.LOCK_EX | fcntl.LOCK_NB
            fcntl.flock(descriptor, flags)
            if holder:
                record = {"pid": os.getpid(), "since": time.time(), "holder": holder}
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(record).encode(), 0)
            yield
            if holder:
                os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)
