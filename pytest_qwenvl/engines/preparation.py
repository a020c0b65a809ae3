"""What every engine needs before it is started, served or offline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_qwenvl.engines.cpu.overlay import cpu_environment
from pytest_qwenvl.engines.interpreter import Interpreter
from pytest_qwenvl.profile_fields import BackendName

WORK = "work"
"""The folder in an engine's run directory that it is started in."""


def prepare(
    run_directory: Path,
    interpreter: Interpreter,
    backend: BackendName,
    extra_environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Make an engine's folders; the variables it needs beside those of its deployment.

    Args:
        run_directory: folder for its log and what it needs; made if absent.
        extra_environment: the caller's own variables, which win.
    """
    (run_directory / WORK).mkdir(parents=True, exist_ok=True)
    environment: dict[str, str] = {}
    if backend == "cpu":
        environment.update(cpu_environment(interpreter, run_directory / "overlay"))
    return {**environment, **(extra_environment or {})}
