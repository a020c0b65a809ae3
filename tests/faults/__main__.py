"""``python -m tests.faults``: hit real runs, print what came of each, exit 1 on a breach."""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.faults.hitting import privileged
from tests.faults.running import default_jobs, run_series
from tests.faults.trying import BOUND, Trial


def main() -> int:
    """Run the faults that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of the series; drawn and printed")
    parser.add_argument("--count", type=int, default=200, help="faults that hit (default 200)")
    parser.add_argument("--only", type=int, action="append", help="play this number alone")
    parser.add_argument("--jobs", type=int, default=default_jobs(), help="runs at a time")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if asked.seed is None else asked.seed
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(f"seed {seed}, {asked.jobs} runs at a time, load {os.getloadavg()[0]:.1f}", flush=True)
    if not privileged():
        print("no right to mount disks or to cut networks off: those faults are left out")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qf-", ignore_cleanup_errors=True) as place:
        series = run_series(
            seed,
            asked.count,
            Path(place),
            only=asked.only,
            jobs=asked.jobs,
            told=lambda trial: print(f"{trial.fault.number}: {trial}", flush=True),
        )
        trials = list(series)
        broken = [it for it in trials if it.breaches]
        _sum_up(trials, time.monotonic() - begun)
        for trial in broken:
            print(f"again: python -m tests.faults --seed {seed} --only {trial.fault.number}")
    return 1 if broken else 0


def _sum_up(trials: list[Trial], seconds: float) -> None:
    hit = [it for it in trials if not it.missed]
    verdicts = sorted({it.verdict for it in hit})
    said = ", ".join(f"{sum(it.verdict == v for it in hit)} {v or 'no report'}" for v in verdicts)
    clean = [it.clean_seconds for it in hit] or [0.0]
    print(
        f"{len(hit)} faults in {seconds:.0f} s, {len(trials) - len(hit)} that hit nobody, "
        f"{sum(bool(it.breaches) for it in hit)} with a breach; {said}; clean after "
        f"{median(clean):.2f} s in the median, {max(clean):.2f} s at most (bound {BOUND:.0f} s)"
    )


if __name__ == "__main__":
    sys.exit(main())
