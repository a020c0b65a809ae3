"""Finding a run's processes from outside, by what the kernel says of them alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.faults.drawing import Victim
from tests.stand_in_engine.parts import CORE, WORKER


@dataclass(frozen=True)
class Process:
    """One process, told apart from a later one with the same id.

    Attributes:
        begun: its start, in ticks since the host's.
        command: its words.
    """

    pid: int
    begun: int
    parent: int
    group: int
    session: int
    command: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Whether it is still there, and no zombie."""
        found = _read(self.pid)
        return found is not None and found.begun == self.begun

    def __str__(self) -> str:
        return f"{self.pid} ({' '.join(self.command)[:120]})"


def _read(pid: int) -> Process | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return None
    if stat[0] in (b"Z", b"X"):
        return None
    parent, group, session = map(int, stat[1:4])
    command = tuple(word.decode(errors="replace") for word in words)
    return Process(pid, int(stat[19]), parent, group, session, command)


def of_run(folder: Path, leader: int) -> list[Process]:
    """Every process of the run in this folder.

    Found by the mark in the environment that each inherits (``HOME``), by the folder in its
    command, by the session that pytest leads, or as a descendant of one found so.

    Args:
        leader: pytest's process id, which is its session's and its group's too.
    """
    mark = f"HOME={folder}".encode()
    everybody: dict[int, Process] = {}
    found: set[int] = set()
    for entry in os.listdir("/proc"):
        process = _read(int(entry)) if entry.isdigit() else None
        if process is None:
            continue
        everybody[process.pid] = process
        if leader in (process.pid, process.group, process.session) or any(
            str(folder) in word for word in process.command
        ):
            found.add(process.pid)
            continue
        try:
            if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                found.add(process.pid)
        except OSError:
            continue
    grown = True
    while grown:
        more = {it.pid for it in everybody.values() if it.parent in found} - found
        grown = bool(more)
        found |= more
    found.discard(os.getpid())
    return [everybody[pid] for pid in sorted(found)]


def named(victim: Victim, run: list[Process], leader: int) -> Process | None:
    """The process of a run that plays this part; None where nobody does now."""
    for process in run:
        if _plays(process, victim, run, leader):
            return process
    return None


def below(root: Process, run: list[Process]) -> list[Process]:
    """The process and everything below it."""
    found = {root.pid}
    for _ in run:
        found |= {it.pid for it in run if it.parent in found}
    return [it for it in run if it.pid in found]


def tree_of(victim: Process, run: list[Process], leader: int) -> list[Process]:
    """What is orphaned with the victim: of a part of an engine, that whole engine."""
    if victim.pid == leader:
        return run
    by_id = {it.pid: it for it in run}
    process = victim
    while not _is_guardian(process) and process.parent in by_id and process.parent != leader:
        process = by_id[process.parent]
    return below(process, run)


def _plays(process: Process, victim: Victim, run: list[Process], leader: int) -> bool:
    words = process.command
    if victim == "pytest":
        return process.pid == leader
    if victim == "worker":
        # What execnet starts an interpreter with: the rest comes through standard input.
        return process.parent == leader and any("sys.stdin.readline()" in word for word in words)
    if victim == "guardian":
        # The guardian of the engine, not of the programs that ask what an engine accepts.
        return _is_guardian(process) and any(
            _plays(child, part, run, leader)
            for child in run
            if child.parent == process.pid
            for part in ("server", "program")
        )
    if victim == "server":
        return "serve" in words and "vllm.entrypoints.cli.main" in words
    if victim == "program":
        return any(word.endswith("faults/program.py") for word in words)
    return (CORE if victim == "core" else WORKER) in words


def _is_guardian(process: Process) -> bool:
    return any(word.endswith("guardian.py") for word in process.command)
