"""An xdist worker that never outlives the pytest it works for."""

from __future__ import annotations

import contextlib
import ctypes
import signal

_PR_SET_PDEATHSIG = 1


def die_with_controller() -> None:
    """Have the kernel kill this process when its parent dies.

    A worker sees the end of its controller by itself only while it reads from it: one that is
    stopped, or hangs inside a driver, would keep its engine and the lease of its devices. Its
    guardians end the engines then. Where the kernel offers no such thing, nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
