"""What pytest does in a guardian's place when that was killed."""

from __future__ import annotations

import os
import subprocess

from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.process_tree import KILL_TIMEOUT


def say_farewell(launch: Launch) -> str:
    """Run the command that ends what the engine ran elsewhere; what it complained of, or empty."""
    try:
        done = subprocess.run(
            launch.farewell,
            env={**os.environ, **launch.environment},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=KILL_TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{launch.farewell[0]}: {error}"
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"
