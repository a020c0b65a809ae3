"""Answers that one deployment of a run leaves for another one's tests, in whatever process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.planning import PlannedDeployment


def keep(
    session: EngineSession, planned: PlannedDeployment, name: str, answers: Sequence[str]
) -> None:
    """Write a deployment's answers into its folder of the run, whole or not at all."""
    path = session.directory_of(planned) / name
    unfinished = path.with_suffix(".part")
    unfinished.write_text(
        json.dumps({"run": session.run_id, "answers": list(answers)}), encoding="utf-8"
    )
    unfinished.replace(path)


def kept(session: EngineSession, planned: PlannedDeployment, name: str) -> list[str] | None:
    """What :func:`keep` wrote in this run, in whatever process; None when it did not.

    What an earlier run left in the same report directory says nothing of this run's engines,
    unless this run continues it with the same inputs.
    """
    path: Path = session.run_directory / planned.profile.name / planned.deployment.name / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(content, dict):
        return None
    if not session.is_of_this_run(planned, str(content.get("run"))):
        return None
    answers: list[str] = content["answers"]
    return answers
