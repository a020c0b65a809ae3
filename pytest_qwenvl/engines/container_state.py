"""Whether a container still runs, whatever its client says."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pytest_qwenvl.engines.command import Launch

LOOK_INTERVAL = 5.0
"""Seconds of waiting for an answer between two looks: one costs a call of docker or podman."""

_ASK_TIMEOUT = 30.0  # seconds for docker or podman to say how a container is


def container_is_gone(launch: Launch) -> bool:
    """Whether this launch has a container, and that ended, whatever its client still waits for.

    Podman's client waits for ever for a container whose monitor was killed, and its record of the
    container says that it runs. So the process is looked for as well.
    """
    if not launch.farewell:
        return False
    *_, runtime, name = launch.farewell
    try:
        done = subprocess.run(
            [runtime, "inspect", "--format", "{{.State.Running}} {{.State.Pid}}", name],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ASK_TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False  # nobody knows
    # One that is not there yet, or not any more, is its client's to speak of.
    running, _, pid = done.stdout.strip().partition(" ")
    return running == "true" and not Path("/proc", pid).exists()
