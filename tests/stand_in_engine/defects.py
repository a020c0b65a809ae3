"""What can be wrong with the stand-in, by the name that ``STAND_IN`` gives it.

What shows over HTTP is planted before a real engine, in ``tests/defects``; here is what needs a
launch.
"""

from __future__ import annotations

import os

DEFECTS = {
    # How it starts and ends.
    "exits-0": "ends at once with exit code 0",
    "exits-1": "ends at once with exit code 1 and a message",
    "hangs": "never listens",
    "dies-on-image": "ends when the first picture arrives",
    "dies-on-describe": "ends when it is asked to describe a picture",
    "silent-on-describe": "never answers when it is asked to describe a picture",
    "has-family": "starts a child and a grandchild that ignore SIGTERM",
    "ignores-sigterm": "goes on when it is asked to end",
    "in-parts": "has a core and a worker of its own, as vLLM has: no defect, but four processes",
    # What it logs.
    "no-start-up-lines": "logs nothing of its start",
    "no-access-log": "logs no request",
    "logs-prompts": "logs what it is asked",
    # What depends on how it was started.
    "offline-differs": "says something else offline than served",
    "starts-differ": "says something else after each start",
    "devices-differ": "says something else on two devices",
}


def planted() -> frozenset[str]:
    """The defects of this process; an unknown name must not pass as health."""
    names = frozenset(filter(None, os.environ.get("STAND_IN", "").split(",")))
    unknown = names - DEFECTS.keys()
    if unknown:
        raise ValueError(f"STAND_IN names {sorted(unknown)}; known: {sorted(DEFECTS)}")
    return names
