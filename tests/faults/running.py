"""A series of faults, several runs at a time."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from tests.faults.drawing import draw
from tests.faults.hitting import privileged
from tests.faults.trying import Trial, attempt


def default_jobs() -> int:
    """Runs at a time: half of a run is waiting."""
    return 2 * (os.cpu_count() or 1)


def run_series(
    seed: int,
    count: int,
    place: Path,
    *,
    only: list[int] | None = None,
    jobs: int = 0,
    told: Callable[[Trial], None] = lambda trial: None,
) -> Iterator[Trial]:
    """Play the faults of a seed until so many have hit somebody.

    Args:
        place: folder for the runs; that of a breach is left there.
        only: play these numbers, and no others.
        jobs: runs at a time; 0 for twice as many as the host has cores.
        told: is given each when it is over.
    """
    may = privileged()
    numbers = iter(only) if only else itertools.count()
    wanted = len(only) if only else count
    jobs = jobs or default_jobs()
    hits = 0
    pending: set[Future[Trial]] = set()
    with ThreadPoolExecutor(jobs) as pool:
        while hits < wanted:
            while len(pending) < min(jobs, wanted - hits):
                number = next(numbers, None)
                if number is None:
                    break
                fault = draw(seed, number, privileged=may)
                pending.add(pool.submit(attempt, fault, place / str(number)))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                trial = future.result()
                hits += not trial.missed
                told(trial)
                yield trial
