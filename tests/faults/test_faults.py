"""One fault of each kind, at the moment where it is worst; the drawn ones are run by tox."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.drawing import Fault
from tests.faults.trying import attempt

FAULTS = {
    "a core that is killed": ("tests", "core", "SIGKILL", 0),
    "a guardian that is frozen": ("tests", "guardian", "freeze", 0),
    "pytest killed while it starts an engine": ("start-up", "pytest", "SIGKILL", 0),
    "a worker that is frozen": ("tests", "worker", "freeze", 1),
}


@pytest.mark.parametrize("what", FAULTS)
def test_nothing_is_left_and_nothing_lost(tmp_path: Path, what: str) -> None:
    phase, victim, action, workers = FAULTS[what]
    fault = Fault(0, phase, victim, action, 0.05, 0.0, workers)  # type: ignore[arg-type]
    trial = attempt(fault, tmp_path / "run")
    assert not trial.missed
    assert trial.breaches == [], str(trial)
