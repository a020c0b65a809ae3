"""On a played host the stand-in holds its devices, and notes whom else it met on them.

Nothing of the package under test is asked: who holds a device is what the kernel says of the
holders' locks (``fixtures/hosts/holding.py``), and each engine notes for itself from when to when
it lived, by the host's monotonic clock.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fixtures.hosts.holding import hold_visible

MIB = 40000
_BEAT_SECONDS = 0.05


def occupy() -> None:
    """Hold what ``ASCEND_RT_VISIBLE_DEVICES`` names; nothing on the CPU, or on no played host."""
    if not {"QWENVL_HOST_STATE", "ASCEND_RT_VISIBLE_DEVICES"} <= os.environ.keys():
        return
    state = Path(os.environ["QWENVL_HOST_STATE"])
    devices = [int(it) for it in os.environ["ASCEND_RT_VISIBLE_DEVICES"].split(",")]
    begun = time.monotonic()
    hold_visible(MIB, "VLLMEngineCore")
    # After taking hold: of two that come at once, one sees the other at least.
    met = {device: _others_on(state, device) for device in devices}
    notes = state / "engines"
    notes.mkdir(exist_ok=True)
    path = notes / f"{os.getpid()}-{time.monotonic_ns()}.jsonl"
    note = {"pid": os.getpid(), "devices": devices, "begun": begun, "met": met}
    hidden = path.with_suffix(".new")
    file = hidden.open("a", encoding="utf-8")
    file.write(json.dumps(note) + "\n")
    file.flush()
    # Visible only when it is whole.
    hidden.rename(path)
    threading.Thread(target=_beat, args=(file,), daemon=True).start()


def load() -> None:
    """Take as long to load the model as ``STAND_IN_START_SECONDS`` says."""
    time.sleep(float(os.environ.get("STAND_IN_START_SECONDS", "0")))


def _beat(file: Any) -> None:
    """Note the time again and again: nobody can note its own death by SIGKILL."""
    while True:
        file.write(f"{time.monotonic()}\n")
        file.flush()
        time.sleep(_BEAT_SECONDS)


def _others_on(state: Path, device: int) -> list[int]:
    others = []
    for path in (state / f"device-{device}").glob("*.json"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                others.append(int(path.stem))
    return [pid for pid in others if pid != os.getpid()]


@dataclass(frozen=True)
class Stay:
    """One engine on its devices.

    Attributes:
        begun: seconds of the monotonic clock when it took hold of them.
        last: when it was last seen alive, at most a beat before its end.
        met: who else held a device of its when it came, by device.
    """

    pid: int
    devices: tuple[int, ...]
    begun: float
    last: float
    met: dict[int, list[int]]


def stays(state: Path) -> list[Stay]:
    """Every engine that was on the devices of a played host, in the order in which they came."""
    found = []
    for path in (state / "engines").glob("*.jsonl"):
        # What comes after the last line's end is a beat that is being written.
        first, *beats = path.read_text(encoding="utf-8").split("\n")[:-1]
        note = json.loads(first)
        last = float(beats[-1]) if beats else note["begun"]
        met = {int(device): pids for device, pids in note["met"].items() if pids}
        found.append(Stay(note["pid"], tuple(note["devices"]), note["begun"], last, met))
    return sorted(found, key=lambda stay: stay.begun)


def shared(found: list[Stay]) -> list[str]:
    """Every device that two engines were on at once, in words; empty when none was."""
    said = [
        f"engine {stay.pid} came to device {device} while {pids} held it"
        for stay in found
        for device, pids in stay.met.items()
    ]
    for position, one in enumerate(found):
        for other in found[position + 1 :]:
            both = set(one.devices) & set(other.devices)
            if both and other.begun < one.last:
                said.append(f"engines {one.pid} and {other.pid} were on {sorted(both)} at once")
    return said


def most_at_once(found: list[Stay]) -> int:
    """The largest number of devices with an engine on them at any time."""
    return max(
        sum(len(other.devices) for other in found if other.begun <= stay.begun <= other.last)
        for stay in found
    )
