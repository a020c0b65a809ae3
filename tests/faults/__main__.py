"""``python -m tests.faults``: hit real runs, print what came of each, exit 1 on a breach."""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from statistics import median

from tests.faults.drawing import draw
from tests.faults.hitting import privileged
from tests.faults.trying import BOUND, Trial, attempt


def main() -> int:
    """Run the faults that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of the series; drawn and printed")
    parser.add_argument("--count", type=int, default=200, help="faults that hit (default 200)")
    parser.add_argument("--only", type=int, action="append", help="play this number alone")
    parser.add_argument(
        "--jobs", type=int, default=2 * (os.cpu_count() or 1), help="runs at a time"
    )
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if asked.seed is None else asked.seed
    signal.signal(signal.SIGINT, signal.default_int_handler)
    may = privileged()
    print(f"seed {seed}, {asked.jobs} runs at a time, load {os.getloadavg()[0]:.1f}", flush=True)
    if not may:
        print("no right to mount disks or to cut networks off: those faults are left out")
    begun = time.monotonic()
    numbers = iter(asked.only) if asked.only else itertools.count()
    wanted = len(asked.only) if asked.only else asked.count
    with tempfile.TemporaryDirectory(prefix="qf-", ignore_cleanup_errors=True) as place:
        trials = list(_all(seed, numbers, wanted, asked.jobs, Path(place), may))
        broken = [it for it in trials if it.breaches]
        _sum_up(trials, time.monotonic() - begun)
        for trial in broken:
            print(f"again: python -m tests.faults --seed {seed} --only {trial.fault.number}")
    return 1 if broken else 0


def _all(
    seed: int, numbers: Iterator[int], wanted: int, jobs: int, place: Path, may: bool
) -> Iterator[Trial]:
    hits = 0
    lock = threading.Lock()
    pending: set[Future[Trial]] = set()

    def one(number: int) -> Trial:
        trial = attempt(draw(seed, number, privileged=may), place / str(number))
        with lock:
            print(f"{number}: {trial}", flush=True)
        return trial

    with ThreadPoolExecutor(jobs) as pool:
        while hits < wanted:
            while len(pending) < min(jobs, wanted - hits):
                number = next(numbers, None)
                if number is None:
                    break
                pending.add(pool.submit(one, number))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                trial = future.result()
                hits += not trial.missed
                yield trial


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
