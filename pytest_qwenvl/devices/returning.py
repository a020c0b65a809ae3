"""After an engine: devices are given back when their memory is back."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_qwenvl.devices.fitness import why_not_back
from pytest_qwenvl.devices.taking import Look, Taken, npus_by_name
from pytest_qwenvl.errors import UsageProblem

RETURN_SECONDS = 60.0
"""How long the memory of an ended engine may stay in use. The driver frees a killed process's
memory within seconds; what is still there after a minute does not come back by waiting."""

_POLL_SECONDS = 2.0


def wait_for_memory(
    taken: Taken,
    look: Look | None,
    seconds: float,
    tell: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, str]:
    """Give back each device as its memory comes back; those that still lack it, and why.

    Args:
        taken: what the lease holds; everything of it that is not in the answer is given back.
        look: reads all NPUs anew; None where there is nothing to look at.
        seconds: how long to wait.
        tell: is told what is waited for.
    """
    left = dict.fromkeys(taken.seen, "")
    for name in taken.locks.keys() - left.keys():
        taken.give_back(name)
    deadline = time.monotonic() + seconds
    while left and look is not None:
        try:
            now = npus_by_name(look())
            missing = "is no longer shown by npu-smi"
        except UsageProblem as problem:
            now, missing = {}, f"cannot be looked at: {problem}"
        for name in list(left):
            left[name] = why_not_back(taken.seen[name], now[name]) if name in now else missing
            if not left[name]:
                del left[name]
                taken.give_back(name)
        if left and time.monotonic() >= deadline:
            return {
                name: f"{reason}, {seconds:g} s after its engine ended"
                for name, reason in left.items()
            }
        if left:
            waits = "; ".join(f"{name} {reason}" for name, reason in left.items())
            tell(f"{taken.holder} gives back its devices: {waits}")
            sleep(_POLL_SECONDS)
    return {}
