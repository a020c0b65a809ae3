"""The proof of exclusiveness that the benchmark rests on, and that it can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from benchmarks.lease_crowd import Note, hand_over_delays, overlaps, worst_wait
from tests.engines.support import PATIENCE

CROWD = """
import dataclasses, json, sys
from pathlib import Path
from benchmarks import lease_crowd
from tests.devices.test_choosing import A3

if sys.argv[2] == "broken":
    # Everybody takes locks, but each in a folder of its own.
    whole = lease_crowd.DevicePool
    def apart(devices, names, locks, **options):
        import os
        return whole(devices, names, locks / str(os.getpid()), **options)
    lease_crowd.DevicePool = apart
notes = lease_crowd.gather(
    Path(sys.argv[1]), A3, processes=8, leases=120, largest=8, longest_hold=0.01
)
print(json.dumps([dataclasses.asdict(note) for note in notes]))
"""


def crowd(folder: Any, how: str) -> list[Note]:
    argv = [sys.executable, "-c", CROWD, str(folder), how]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=PATIENCE)
    return [Note(**{**it, "devices": tuple(it["devices"])}) for it in json.loads(done.stdout)]


def test_no_device_is_ever_leased_twice(tmp_path):
    notes = crowd(tmp_path, "sound")
    assert len(notes) == 120
    assert {len(note.devices) for note in notes} == set(range(1, 9))
    assert overlaps(notes) == []


def test_the_proof_sees_double_leases(tmp_path):
    assert overlaps(crowd(tmp_path, "broken"))


def test_overlap_of_one_device_among_several():
    one = Note(("npu0", "npu1"), asked=0.0, used=1.0, left=3.0, released=3.1)
    two = Note(("npu1", "npu2"), asked=0.0, used=2.9, left=4.0, released=4.1)
    assert overlaps([two, one]) == [("npu1", one, two)]
    after = Note(("npu1",), asked=0.0, used=4.0, left=5.0, released=5.1)
    assert overlaps([two, after]) == []


def test_the_worst_wait_of_any_size():
    notes = [
        Note(("npu0",), asked=0.0, used=used, left=9.0, released=9.0) for used in (1.0, 1.0, 4.0)
    ]
    assert worst_wait(notes) == 2.0


def test_how_long_a_hand_over_took():
    first = Note(("npu0", "npu1"), asked=0.0, used=0.0, left=5.0, released=5.0)
    # Its turn came at once, its devices only with the end of the first.
    polled = Note(("npu0", "npu1"), asked=1.0, used=5.06, left=7.0, released=7.0)
    # Found one free when its turn came.
    at_once = Note(("npu2",), asked=2.0, used=5.08, left=8.0, released=8.0)
    waits, polls = hand_over_delays([at_once, polled, first], devices=3)
    assert waits == [pytest.approx(0.02)]
    # A poll after four seconds of waiting takes 50 ms.
    assert polls == [pytest.approx(0.01)]
