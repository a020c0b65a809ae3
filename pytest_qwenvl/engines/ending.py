"""How an engine ended, in words."""

from __future__ import annotations

import signal

from pytest_qwenvl.engines.process import EngineProcess

# docker's and podman's own exit codes: they failed, could not run the command, did not find it.
_CLIENT_CODES = (125, 126, 127)
_REFUSED_DEVICE = ("/dev/", "device")


def describe_exit(status: int | None) -> str:
    """An exit status in words: ``exit code 1`` or ``signal 9 (SIGKILL)``."""
    if status is None or status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"


def describe_end(process: EngineProcess) -> str:
    """How this process ended; of a container, what docker or podman had to say of it."""
    status = process.poll()
    described = describe_exit(status)
    runtime = process.launch.argv[0]
    if process.launch.farewell and status is not None and status < 0:
        return f"{described} of {runtime}"
    if not process.launch.farewell or status not in _CLIENT_CODES:
        return described
    # What the client says comes last; a hint how to get help comes after that.
    said = [line for line in process.log_tail().splitlines() if line and "--help" not in line]
    words = said[-1].strip() if said else "nothing"
    if any(mark in words for mark in _REFUSED_DEVICE):
        words += (
            "; the container was refused a device: see that the device nodes of "
            "docs/containers.md exist and that this user may give them to a container"
        )
    return f"{described} of {runtime}, which said: {words}"
