"""Hitting: signals, limits put on a running process, a full disk, a network that is gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil

from tests.faults.drawing import Fault
from tests.faults.processes import Process
from tests.faults.suite import FaultSuite

DISK_MEBIBYTES = 8
_FILLER = "filler-of-the-fault"
_HEADROOM = 1 << 20  # bytes of address space left to a process that is starved of it


def privileged() -> bool:
    """Whether this user may mount disks and cut networks off here."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "ip", "mount", "nsenter"))):
        return False
    inside = "ip link set lo up && mount -t tmpfs tmpfs /mnt"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", inside], capture_output=True, check=False
    )
    return tried.returncode == 0


def hit(fault: Fault, victim: Process, suite: FaultSuite) -> float:
    """Do it; the monotonic clock when it was done."""
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        _do(fault, victim, suite)
    return time.monotonic()


def thaw(victim: Process) -> None:
    """Let a stopped process go on."""
    if victim.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGCONT)


def end(process: Process) -> None:
    """Kill a process, if it is still there."""
    if process.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def relieve(fault: Fault, suite: FaultSuite) -> None:
    """Make room on the disk again, so that the next run finds some."""
    if fault.action == "disk":
        (suite.report / _FILLER).unlink(missing_ok=True)


def _do(fault: Fault, victim: Process, suite: FaultSuite) -> None:
    if fault.action in ("SIGKILL", "SIGTERM", "SIGINT"):
        os.kill(victim.pid, getattr(signal, fault.action))
    elif fault.action in ("pause", "freeze"):
        os.kill(victim.pid, signal.SIGSTOP)
        if fault.action == "pause":
            later = threading.Timer(fault.pause, thaw, [victim])
            later.daemon = True
            later.start()
    elif fault.action == "descriptors":
        process = psutil.Process(victim.pid)
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds(),) * 2)
    elif fault.action == "memory":
        process = psutil.Process(victim.pid)
        process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms + _HEADROOM,) * 2)
    elif fault.action == "disk":
        _fill(suite.report)
    elif fault.action == "cut":
        subprocess.run(
            ["nsenter", f"--target={victim.pid}", "--net", "ip", "link", "set", "lo", "down"],
            check=False,
        )


def _fill(disk: Path) -> None:
    with (disk / _FILLER).open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
