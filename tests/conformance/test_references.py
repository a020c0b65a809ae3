"""The records in conformance/references: of these checkpoints, and their profiles' floors."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_qwenvl.measure.calibration import FEWEST_RUNS, Reference
from pytest_qwenvl.profile_loading import load_profiles
from pytest_qwenvl.weights_digest import weights_digest

CHECKOUT = Path(__file__).parents[2]
RECORDS = sorted((CHECKOUT / "conformance" / "references").glob("*.json"))
PROFILES = load_profiles([CHECKOUT / "conformance" / "profiles"])
CALIBRATED = [
    (profile.name, floor.task, floor.harness)
    for profile in PROFILES.values()
    for floor in profile.accuracy
    if floor.calibrated
]


def test_every_calibrated_floor_has_its_record() -> None:
    assert CALIBRATED
    assert sorted(".".join([*its, "json"]) for its in CALIBRATED) == [it.name for it in RECORDS]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_floor_is_what_the_runs_of_this_checkpoint_gave(path: Path) -> None:
    record = Reference.model_validate_json(path.read_text(encoding="utf-8"))
    profile = PROFILES[record.model]
    (floor,) = [
        it for it in profile.accuracy if (it.task, it.harness) == (record.task, record.harness)
    ]
    assert (floor.floor, floor.harness, floor.items, floor.metric, floor.deployment) == (
        record.floor, record.harness, record.items, record.metric, record.deployment,
    )  # fmt: skip
    assert len(record.runs) >= FEWEST_RUNS
    assert record.lowest == min(record.runs.values()) >= record.floor
    # A checkpoint that was trained anew needs runs of its own.
    assert profile.weights.path is not None
    assert record.weights == weights_digest((profile.path.parent / profile.weights.path).resolve())
