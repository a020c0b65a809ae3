"""Ends one container and makes sure that it is gone.

A program, standard library only: ``python container_farewell.py RUNTIME NAME``. Its exit code is 0
when no container of that name is left, whoever removed it; else it says why on standard error. No
other container's name may contain NAME.
"""

from __future__ import annotations

import subprocess
import sys
import time

_LIMIT = 30.0  # seconds for the container to be gone
_INTERVAL = 0.2  # seconds between looks: another client may be at removing it
_TIMEOUT = 25.0  # seconds for one command; a daemon that hangs must not hold the run


def ask(*command: str) -> tuple[int, str, str]:
    """Exit code, standard output and last line of complaint of a command."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, "", f"no answer within {_TIMEOUT:.0f} s"
    except OSError as error:
        return -1, "", str(error)
    complaint = done.stderr.strip().splitlines()
    return done.returncode, done.stdout.strip(), complaint[-1] if complaint else ""


def main(runtime: str, name: str) -> int:
    """Remove the container, running or not."""
    deadline = time.monotonic() + _LIMIT
    while True:
        # Killed first: podman's rm asks a container to end and grants it ten seconds.
        ask(runtime, "kill", name)
        _, _, complaint = ask(runtime, "rm", "--force", name)
        # Not anchored: docker's names begin with a slash for some versions of its filter.
        status, left, why = ask(runtime, "ps", "--all", "--quiet", "--filter", f"name={name}")
        if status == 0 and not left:
            return 0
        if status != 0 or time.monotonic() >= deadline:
            print(  # noqa: T201
                f"the container {name} could not be removed and may still hold its devices: "
                f"{why or complaint or 'it is still listed'}. Remove it by hand: {runtime} rm "
                f"--force {name}",
                file=sys.stderr,
            )
            return 1
        time.sleep(_INTERVAL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
