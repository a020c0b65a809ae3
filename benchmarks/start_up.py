"""What the plugin adds to every pytest start, and what collecting the suite takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
_REPEATS = 11


def measure() -> list[Figure]:
    """The plugin's cost to ``pytest --version`` in ms, and the suite's collection in seconds."""
    # Pairs, so that a busy moment of the host weighs on both sides.
    without, with_plugin = [], []
    for _ in range(_REPEATS):
        without.append(_seconds("--version", "-p", "no:qwenvl"))
        with_plugin.append(_seconds("--version"))
    added = 1000 * median(b - a for a, b in zip(without, with_plugin, strict=True))
    collecting = min(_collection_seconds() for _ in range(3))
    return [
        Figure("plugin adds to `pytest --version`", max(added, 0.0), 50, "ms"),
        Figure("collecting the whole suite", collecting, 1, "s"),
    ]


def _seconds(*arguments: str) -> float:
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=ROOT, check=True, capture_output=True
    )
    return time.monotonic() - begun


def _collection_seconds() -> float:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--backend=cpu"]
    done = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, env=os.environ | {"CI": ""}
    )
    found = re.search(r"collected in ([\d.]+)s", done.stdout)
    if found is None:
        raise SystemExit(f"pytest did not say how long it collected:\n{done.stdout[-2000:]}")
    return float(found[1])
