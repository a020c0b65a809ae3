"""A soak as a report keeps it: bounded, with its peaks, and judged again from it alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.soak_record import MOST_POINTS, Thinning, as_evidence, soak_from
from pytest_qwenvl.report.gating import judge_again
from pytest_qwenvl.report.results import Outcome, RunRecord
from tests.soak.records import CLEAN, LOAD, rising, soak


def thinned(count: int) -> Thinning:
    kept = Thinning("memory", "API server", "MiB")
    for number in range(count):
        kept.add(5.0 * number, 100 + 0.01 * number + (900 if number == 777 else 0))
    return kept


@pytest.mark.parametrize("count", [1, 2, 719, 720, 721, 1440, 1441, 5000, 17_280])
def test_a_series_is_bounded_and_keeps_its_ends_and_peaks(count: int) -> None:
    found = thinned(count).watched()
    assert found.samples == count
    assert 1 <= len(found.times) <= MOST_POINTS
    assert count < 720 or len(found.times) >= MOST_POINTS // 3
    assert min(found.lows) == 100
    last = 100 + 0.01 * (count - 1)
    assert max(found.highs) == pytest.approx(1007.77 if count > 777 else last)
    assert list(found.times) == sorted(set(found.times))
    each = 5.0 * count / len(found.times)
    assert found.times[0] <= 2 * each and found.times[-1] >= 5.0 * (count - 1) - 2 * each


def test_means_keep_the_slope() -> None:
    kept = Thinning("memory", "", "")
    for number in range(10_000):
        kept.add(float(number), 3.0 * number)
    found = kept.watched()
    rises = (found.values[-2] - found.values[0]) / (found.times[-2] - found.times[0])
    assert rises == pytest.approx(3.0)


def test_what_is_written_is_read_back() -> None:
    assert soak_from(json.loads(json.dumps(as_evidence(CLEAN)))) == CLEAN


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "load"}, "no soak"),
        ({"duration": "long"}, "duration"),
        ({"watched": [{"quantity": "memory"}]}, "watched.0"),
    ],
)
def test_what_is_none_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(MeasurementError, match=said):
        soak_from({**as_evidence(CLEAN), **change})


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("times", [1.0], "differ in length"),
        ("values", ["nan"], "differ in length"),
        ("times", "descending", "ascend"),
        ("highs", "below", "not between"),
        ("values", "infinite", "finite"),
    ],
)
def test_a_series_must_fit_itself(column: str, values: Any, said: str) -> None:
    evidence = as_evidence(CLEAN)
    series = evidence["watched"][0]
    if values == "descending":
        values = list(reversed(series["times"]))
    elif values == "below":
        values = [value - 500 for value in series["lows"]]
    elif values == "infinite":
        values = ["inf", *series["values"][1:]]
    series[column] = values
    with pytest.raises(MeasurementError, match=said):
        soak_from(evidence)


def report(recorded: Any, outcome: str, judge: str = "soak-memory") -> RunRecord:
    result = {
        "requirement": "QVL-SOK-002",
        "group": "soak",
        "level": "extended",
        "test": "t",
        "model": "m",
        "deployment": "serve",
        "outcome": outcome,
        "evidence": {"measurement": as_evidence(recorded)},
    }
    requirement = {
        "id": "QVL-SOK-002",
        "group": "soak",
        "level": "extended",
        "since": "0.2",
        "must": "Memory MUST stay.",
        "rationale": "r",
        "source": "s",
        "judge": judge,
    }
    return RunRecord.model_validate(
        {
            "suite_version": "0",
            "run_id": "r",
            "started": 0.0,
            "complete": True,
            "requirements": [requirement],
            "profiles": {"m": {"soak": LOAD.model_dump(mode="json")}},
            "planned": ["m/serve QVL-SOK-002"],
            "results": [result],
        }
    )


@pytest.mark.parametrize(
    ("recorded", "outcome"),
    [(CLEAN, Outcome.PASS), (soak(rising("memory", 300)), Outcome.FAIL)],
    ids=["clean", "leaking"],
)
def test_gate_judges_again(recorded: Any, outcome: Outcome) -> None:
    for said in ("PASS", "FAIL"):
        again = judge_again(report(recorded, said))
        assert again.run.results[0].outcome is outcome
        assert len(again.changes) == (said != outcome.value)


def test_gate_needs_the_profile_of_the_report() -> None:
    run = report(CLEAN, "PASS").model_copy(update={"profiles": {"m": {}}})
    assert judge_again(run).run.results[0].outcome is Outcome.INVALID
