"""Two hundred faults on purpose: what was left, what was lost, what was called CONFORMANT."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure

_SEED = 6
_COUNT = 200


def measure() -> list[Figure]:
    """Faults with a breach, the longest time until nothing was left, and the minutes they took."""
    from tests.faults.running import run_series
    from tests.faults.trying import BOUND

    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qf-", ignore_cleanup_errors=True) as place:
        trials = [it for it in run_series(_SEED, _COUNT, Path(place)) if not it.missed]
    minutes = (time.monotonic() - begun) / 60
    broken = [it for it in trials if it.breaches]
    for trial in broken:
        print(trial)
    longest = max(it.clean_seconds for it in trials)
    return [
        Figure(f"breaches in {len(trials)} faults of seed {_SEED}", len(broken), 0, "faults"),
        Figure("until nothing was left, at most", longest, BOUND, "s"),
        Figure(f"{len(trials)} faults", minutes, 6, "min"),
    ]
