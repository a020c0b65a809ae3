"""Reaching a Ray cluster, or saying within a bounded time why it cannot be.

Ray's own client waits for minutes for an address where nothing listens, and may end the whole
process. So a child tries first: ``python -m pytest_qwenvl.fleet.connecting ADDRESS``.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import subprocess
import sys
from typing import Any

from pytest_qwenvl.errors import UsageProblem

CONNECT_SECONDS = 5.0
"""For a connection to the address; ``TRIAL_SECONDS`` for a whole trial of Ray's client."""
TRIAL_SECONDS = 60.0
_LOOPBACK = ("127.", "localhost")
_LAST_LINES = 8


def connect(address: str) -> Any:
    """Join the cluster as a driver, and give the module ``ray``.

    Args:
        address: ``HOST:PORT`` of the cluster's head, or ``auto`` for the one that this host is
            part of.

    Raises:
        UsageProblem: no Ray here, nothing at the address, or another version of Ray or Python.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageProblem(
            "fleet: Ray is not installed in this interpreter; pip install 'pytest-qwenvl[fleet]', "
            "the version that the cluster runs, here and on every host"
        )
    if address != "auto":
        _check_address(address)
    if address.startswith(_LOOPBACK):
        # Ray would take this host's outer address for the loopback one, where such a cluster does
        # not listen. Read when ray is imported; heard by no other host.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    _try(address)
    return _join(address)


def _check_address(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if "://" in address or not (colon and host and port.isdecimal()):
        raise UsageProblem(
            f"--address {address}: needs HOST:PORT of the cluster's head, as `ray start --head` "
            "prints it, or auto; start the fleet on a host of the cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageProblem(
            f"--address {address}: nothing answers there ({error}); is the cluster's head up "
            "(`ray start --head`), and is this its address?"
        ) from None


def _try(address: str) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest_qwenvl.fleet.connecting", address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageProblem(
            f"--address {address}: something listens there and is no Ray cluster that could be "
            f"joined within {TRIAL_SECONDS:.0f} s; look with `ray status --address {address}`"
        ) from None
    if done.returncode == 0:
        return
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    mismatch = next((i for i, line in enumerate(said) if "Version mismatch" in line), None)
    if mismatch is not None:
        words = " ".join(" ".join(said[mismatch:]).split())
        raise UsageProblem(
            f"--address {address}: {words[words.index('Version mismatch') :]} (the fleet's head "
            "needs the versions of Ray and Python that the cluster runs)"
        )
    raise UsageProblem(
        f"--address {address}: Ray cannot join the cluster there:\n"
        + "\n".join(said[-_LAST_LINES:])
    )


def _join(address: str) -> Any:
    import ray

    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    return ray


if __name__ == "__main__":
    _join(sys.argv[1]).shutdown()
