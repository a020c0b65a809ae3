"""In which order deployments are handed to workers, and which comes next (pure).

Work is handed out as a list: whenever a worker is free, it is given the first in the order that
fits the free devices. What is dearest comes first, so that small things fill the gaps at the end;
of a thousand such orders the one is taken that ends first by the profiles' own estimates.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from pytest_qwenvl.devices.choosing import devices_held
from pytest_qwenvl.planning import Plan, offline_partner

_TRIALS = 1000
# An order within two percent of the bound is not worth another trial.
_GOOD_ENOUGH = 1.02


@dataclass(frozen=True)
class Work:
    """Tests that stay together on one worker.

    Attributes:
        name: the id of the deployment, or the file of tests without one.
        devices: how many are held from its first test to its last; 0 for none.
        seconds: how long it is expected to take, start-up included.
        after: names of work that has to be finished before it begins.
    """

    name: str
    devices: int = 0
    seconds: float = 0.0
    after: frozenset[str] = frozenset()


def work_of(plan: Plan) -> dict[str, Work]:
    """What each deployment of a plan is to a scheduler, by its id.

    A served deployment comes after the offline one that its answers are compared with. An attached
    server needs no devices of this host.
    """
    if plan.endpoint is not None:
        return {one.id: Work(one.id) for one in plan.deployments}
    found = {}
    for one in plan.deployments:
        held = devices_held(
            one.deployment.npus,
            one.deployment.exclusive,
            plan.inventory.npus,
            len(plan.inventory.devices),
        )
        partner = offline_partner(plan, one) if one.deployment.mode == "serve" else None
        after = frozenset({partner.id}) if partner is not None else frozenset[str]()
        found[one.id] = Work(one.id, held, one.deployment.estimated_seconds, after)
    return found


def next_work(waiting: Iterable[Work], unfinished: Collection[str], free: float) -> Work | None:
    """The first that may begin with so many devices free; None when all have to wait."""
    for work in waiting:
        if work.devices <= free and work.after.isdisjoint(unfinished):
            return work
    return None


def in_order(works: Sequence[Work], devices: int, workers: int) -> list[Work]:
    """The order in which to hand out work; the same for the same work.

    Args:
        devices: how many the run holds at once.
        workers: how many pieces of work are under way at once.
    """
    free_of_devices = [work for work in works if not work.devices]
    # Equal estimates must not make the order depend on how tests were collected.
    others = sorted((work for work in works if work.devices), key=lambda work: work.name)
    if not others:
        return free_of_devices
    chain = _seconds_with_what_follows(others)
    best = min(
        (
            sorted(others, key=lambda it: (-it.devices * chain[it.name], it.name)),
            sorted(others, key=lambda it: (-chain[it.name], it.name)),
            sorted(others, key=lambda it: (-it.devices, -chain[it.name], it.name)),
        ),
        key=lambda order: expected_seconds(order, devices, workers),
    )
    shortest = expected_seconds(best, devices, workers)
    bound = lower_bound(others, min(devices, sum(work.devices for work in others)))
    chance = random.Random(0)
    current, its_seconds = best, shortest
    for _ in range(_TRIALS):
        if shortest <= _GOOD_ENOUGH * bound:
            break
        trial = list(current)
        moved = trial.pop(chance.randrange(len(trial)))
        trial.insert(chance.randrange(len(trial) + 1), moved)
        seconds = expected_seconds(trial, devices, workers)
        # Equal ones too: the way to a better order may lead over them.
        if seconds <= its_seconds:
            current, its_seconds = trial, seconds
        if seconds < shortest:
            best, shortest = trial, seconds
    return [*free_of_devices, *best]


def lower_bound(works: Iterable[Work], devices: int) -> float:
    """Seconds that no order can do it in: the longest piece, or the devices all busy."""
    works = list(works)
    longest = max(work.seconds for work in works)
    return max(longest, sum(work.devices * work.seconds for work in works) / devices)


def expected_seconds(order: Sequence[Work], devices: int, workers: int) -> float:
    """How long work takes in an order, if each piece takes as long as is expected of it."""
    waiting = list(order)
    unfinished = {work.name for work in order}
    running: list[tuple[float, int, Work]] = []
    now, free = 0.0, devices
    while unfinished:
        while len(running) < workers:
            # What needs more than there is must not be waited for for ever.
            work = next_work(waiting, unfinished, free if running else math.inf)
            if work is None:
                break
            waiting.remove(work)
            free -= work.devices
            heapq.heappush(running, (now + work.seconds, len(waiting), work))
        now, _, done = heapq.heappop(running)
        free += done.devices
        unfinished.remove(done.name)
    return now


def _seconds_with_what_follows(works: Sequence[Work]) -> dict[str, float]:
    """Seconds of each, and of the longest that waits for it."""
    seconds = {work.name: work.seconds for work in works}
    following: dict[str, float] = {}
    for work in works:
        for name in work.after & seconds.keys():
            following[name] = max(following.get(name, 0.0), work.seconds)
    return {name: its + following.get(name, 0.0) for name, its in seconds.items()}
