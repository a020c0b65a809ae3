"""What is left of a run: processes, leases, ports, shared memory, temporary files."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterable
from pathlib import Path

import psutil

from pytest_qwenvl.devices.locks import is_locked
from tests.faults.processes import Process, of_run
from tests.faults.suite import FaultSuite

_KEPT = re.compile(r"INFO: keeps (/dev/shm/\S+) (\S+)")
_PORT = re.compile(r"--port[ =](\d+)")


def remains(suite: FaultSuite, leader: int, seen: Iterable[Process]) -> list[str]:
    """Everything that is left, in words; empty when nothing is.

    Args:
        leader: process id of the pytest that is over.
        seen: processes that the run had when it was hit.
    """
    left = {it for it in seen if it.alive} | set(of_run(suite.folder, leader))
    return [
        *(f"process {it}" for it in sorted(left, key=lambda it: it.pid)),
        *(f"lease {path.name}" for path in _leases(suite)),
        *_of_engines(suite),
        *(f"temporary file {path}" for path in _temporary(suite)),
    ]


def _leases(suite: FaultSuite) -> list[Path]:
    if not suite.locks.is_dir():
        return []
    return [path for path in sorted(suite.locks.rglob("*")) if path.is_file() and is_locked(path)]


def _of_engines(suite: FaultSuite) -> list[str]:
    found = []
    for log in suite.report.glob("engines/*/*/server.log"):
        text = log.read_text(errors="replace")
        for memory, address in _KEPT.findall(text):
            found += [f"shared memory {memory}"] * Path(memory).exists()
            found += [f"socket {address}"] * Path(address).exists()
    return found


def _temporary(suite: FaultSuite) -> list[Path]:
    own = suite.folder / "tmp"
    # pytest keeps the temporary folders of its last runs itself.
    known = (suite.locks.name, f"pytest-of-{getpass.getuser()}")
    found = [it for it in own.iterdir() if it.name not in known] if own.is_dir() else []
    # Made hidden, to appear under their names when they are whole.
    found += [it for it in suite.locks.rglob(".*") if it.is_file()]
    for pattern in ("*.partial", ".probe-*", "steps/*"):
        found += suite.report.glob(pattern)
    return sorted(found)


def ports_of(run: Iterable[Process]) -> set[int]:
    """Ports on which servers of the run listen, or are about to."""
    found = set()
    for process in run:
        match = _PORT.search(" ".join(process.command))
        if match:
            found.add(int(match[1]))
    return found


def taken(ports: Iterable[int], seen: Iterable[Process]) -> list[str]:
    """Ports that cannot be listened on and that nobody but the run can hold, in words."""
    mine = {it.pid for it in seen}
    found = []
    for port in ports:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
                trial.listen()
            except OSError:
                listening = psutil.net_connections("tcp")
                holders = {it.pid for it in listening if it.laddr and it.laddr[1] == port}
                if not holders - {None} or holders & mine:
                    found.append(f"port {port}")
    return found
