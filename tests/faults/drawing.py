"""Which fault comes at which number: decided by the seed alone, so that each can be had again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Phase = Literal[
    "collection",
    "preflight",
    "start-up",
    "ready",
    "tests",
    "load",
    "lm-eval",
    "stopping",
    "report",
]
Victim = Literal["pytest", "worker", "guardian", "server", "core", "engine-worker", "program"]
Action = Literal[
    "SIGKILL", "SIGTERM", "SIGINT", "pause", "freeze", "descriptors", "memory", "disk", "cut"
]

PHASES: tuple[Phase, ...] = (
    "collection",
    "preflight",
    "start-up",
    "ready",
    "tests",
    "load",
    "lm-eval",
    "stopping",
    "report",
)
_SERVING: tuple[Victim, ...] = ("guardian", "server", "core", "engine-worker")
# Who is there to be hit in a phase, beside pytest itself and, with xdist, its worker.
VICTIMS: dict[Phase, tuple[Victim, ...]] = {
    "collection": (),
    "preflight": (),
    "start-up": ("guardian", "server"),
    "ready": _SERVING,
    "tests": _SERVING,
    "load": (*_SERVING, "program"),
    "lm-eval": ("guardian", "program"),
    "stopping": (),
    "report": (),
}
SIGNALS: tuple[Action, ...] = ("SIGKILL", "SIGTERM", "SIGINT")
# Killing is what happens most; the others are drawn less often each.
_WEIGHTS: dict[Action, int] = {
    "SIGKILL": 8,
    "SIGTERM": 3,
    "SIGINT": 3,
    "pause": 2,
    "freeze": 2,
    "descriptors": 1,
    "memory": 1,
    "disk": 1,
    "cut": 1,
}
_LONGEST_DELAY = 0.25  # seconds after the phase was seen; most phases take about as long
_LONGEST_PAUSE = 1.5
# What is done to the run as a whole, whoever is named.
OF_THE_RUN: tuple[Action, ...] = ("disk", "cut")


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        number: its place in the series of its seed.
        delay: seconds between seeing the phase and hitting.
        pause: seconds until what was stopped goes on; only of ``pause``.
        workers: xdist workers of the run; 0 without xdist.
    """

    number: int
    phase: Phase
    victim: Victim
    action: Action
    delay: float
    pause: float
    workers: int

    def __str__(self) -> str:
        with_workers = f" -n{self.workers}" if self.workers else ""
        lasting = f" for {self.pause:.2f} s" if self.action == "pause" else ""
        return (
            f"{self.action}{lasting} of {self.victim} {1000 * self.delay:.0f} ms into "
            f"{self.phase}{with_workers}"
        )


def draw(seed: int, number: int, *, privileged: bool = True) -> Fault:
    """The fault with this number of this seed.

    Args:
        privileged: whether disks may be mounted and networks cut; else those are left out.
    """
    chance = random.Random(f"{seed}-{number}")
    workers = int(chance.random() < 0.3)
    phase = chance.choice(PHASES)
    victims: list[Victim] = ["pytest", *VICTIMS[phase]]
    if workers:
        victims.append("worker")
    victim = chance.choice(victims)
    actions = [it for it in _WEIGHTS if privileged or it not in OF_THE_RUN]
    (action,) = chance.choices(actions, [_WEIGHTS[it] for it in actions])
    if action in OF_THE_RUN:
        victim = "pytest"
    return Fault(
        number,
        phase,
        victim,
        action,
        chance.uniform(0.0, _LONGEST_DELAY),
        chance.uniform(0.1, _LONGEST_PAUSE),
        workers,
    )
