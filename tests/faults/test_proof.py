"""The rule of what may be CONFORMANT after a fault, against records that may not be."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_qwenvl.report.results import Result
from tests.faults.proof import why_not_conformant
from tests.faults.suite import RESULTS
from tests.report.records import result, run

ENGINE, HIT = 17, 100.0


def results(asked: float = 50.0) -> list[Result]:
    return [
        result(name, test=f"{name}-{number}", evidence={"pid": ENGINE, "asked": asked})
        for name, count in RESULTS.items()
        for number in range(count)
    ]


def whole(**changes: Any) -> Any:
    return run(**{"results": results(), "exit_status": 0, **changes})


def test_a_run_that_proved_everything_before_the_fault_may_be():
    assert why_not_conformant(whole(), {ENGINE}, HIT) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"complete": False}, "not complete"),
        ({"interrupted": "Ctrl-C"}, "Ctrl-C"),
        ({"exit_status": 1}, "exit status 1"),
        ({"results": results()[1:]}, "results"),
        ({"results": []}, "0 results"),
        ({"results": [*results()[1:], result("QVL-ENV-001", "FAIL")]}, "passed"),
        ({"results": results(asked=HIT + 1)}, "was dead"),
    ],
)
def test_nothing_else_may_be(changes, said):
    assert said in why_not_conformant(whole(**changes), {ENGINE}, HIT)


def test_an_engine_that_went_on_may_be_asked_after_the_fault():
    assert why_not_conformant(whole(results=results(asked=HIT + 1)), set(), HIT) == ""
