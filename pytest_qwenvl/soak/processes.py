"""What the kernel says of an engine's processes: memory, descriptors, threads, processor time.

Read from ``/proc`` alone, without a scan of all processes but once a minute: a look costs less
than a millisecond a process. The proportional memory of a process, which takes the kernel a walk
through its pages, is read as seldom.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_FIELDS = re.compile(r"^(RssAnon|RssShmem|VmSwap|Threads):\s+(\d+)", re.MULTILINE)
_PSS = re.compile(r"^Pss:\s+(\d+)", re.MULTILINE)
_SELDOM = 60.0  # seconds between two looks at what is dear
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessLook:
    """One process at one moment.

    Attributes:
        role: ``API server``, or what the process calls itself (``VLLM::EngineCore``).
        memory: MiB that are its own, wherever they lie: anonymous, shared and swapped out.
        proportional: MiB, shared pages divided by those who share them; None between looks.
        processor: seconds used so far.
    """

    role: str
    memory: float
    descriptors: int
    sockets: int
    threads: int
    processor: float
    proportional: float | None


class EngineProcesses:
    """A process and its descendants, by role.

    Args:
        root: process id of the engine's first process.
        clock: seconds, monotonic.
    """

    def __init__(
        self, root: int, clock: Callable[[], float] = time.monotonic, proc: Path = Path("/proc")
    ) -> None:
        self._root = root
        self._clock = clock
        self._proc = proc
        self._roles: dict[int, str] = {}
        self._searched = float("-inf")

    def look(self) -> list[ProcessLook]:
        """Every process that lives now."""
        now = self._clock()
        seldom = now - self._searched >= _SELDOM
        if seldom:
            self._searched = now
            self._search()
        found = []
        for pid, role in list(self._roles.items()):
            with contextlib.suppress(OSError, ValueError, IndexError):
                found.append(self._read(pid, role, seldom))
        return found

    def _search(self) -> None:
        import psutil

        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self._root)
            for process in [root, *root.children(recursive=True)]:
                if process.pid not in self._roles:
                    with contextlib.suppress(OSError):
                        self._roles[process.pid] = self._unique(self._role(process.pid))

    def _role(self, pid: int) -> str:
        if pid == self._root:
            return "API server"
        words = (self._proc / str(pid) / "cmdline").read_bytes().decode(errors="replace")
        if "resource_tracker" in words:
            return "resource tracker"
        title = words.split("\0")[0].strip()
        return title if title.startswith("VLLM::") else Path(title).name or str(pid)

    def _unique(self, role: str) -> str:
        taken = set(self._roles.values())
        names: Iterator[str] = (
            role if number == 1 else f"{role} {number}" for number in range(1, 10_000)
        )
        return next(name for name in names if name not in taken)

    def _read(self, pid: int, role: str, seldom: bool) -> ProcessLook:
        folder = self._proc / str(pid)
        stat = (folder / "stat").read_text().rpartition(")")[2].split()
        if stat[0] in "ZX":
            raise ProcessLookupError(pid)
        fields = {name: int(value) for name, value in _FIELDS.findall(_text(folder / "status"))}
        kilobytes = sum(fields.get(name, 0) for name in ("RssAnon", "RssShmem", "VmSwap"))
        descriptors = os.listdir(folder / "fd")
        sockets = 0
        for number in descriptors:
            with contextlib.suppress(OSError):
                sockets += os.readlink(folder / "fd" / number).startswith("socket:")
        whole = _PSS.search(_text(folder / "smaps_rollup")) if seldom else None
        return ProcessLook(
            role=role,
            memory=kilobytes / 1024,
            descriptors=len(descriptors),
            sockets=sockets,
            threads=fields["Threads"] if "Threads" in fields else int(stat[17]),
            processor=(int(stat[11]) + int(stat[12])) / _TICKS,
            proportional=int(whole[1]) / 1024 if whole else None,
        )


def busy_seconds(proc: Path = Path("/proc")) -> float | None:
    """Processor seconds that all of the host's cores were busy so far; None where unknown.

    What a hypervisor gave to others counts as busy.
    """
    try:
        first = _text(proc / "stat").split("\n", 1)[0].split()
        user, nice, system, _, _, *rest = map(int, first[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + sum(rest)) / _TICKS


def _text(path: Path) -> str:
    return path.read_text(errors="replace")
