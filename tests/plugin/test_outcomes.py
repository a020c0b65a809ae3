"""From what a test raised to the outcome of its requirement."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pydantic
import pytest
import requests

from pytest_qwenvl.errors import (
    EngineDiedError,
    EngineStartError,
    InconclusiveError,
    MeasurementError,
    OfflineRequestError,
    UsageProblem,
)
from pytest_qwenvl.outcomes import Evidence, JudgedError, outcome_of, reproduce_line
from pytest_qwenvl.report.results import Outcome

PRODUCT = Outcome.FAIL
SUITE = Outcome.ERROR


def outcome(problem: BaseException | None, when: str = "call", **report: bool) -> Outcome:
    seen = {"passed": problem is None, "skipped": False, **report, "when": when}
    excinfo = None if problem is None else SimpleNamespace(value=problem)
    return outcome_of(SimpleNamespace(**seen), SimpleNamespace(excinfo=excinfo))  # type: ignore[arg-type]


def answer_errors() -> list[BaseException]:
    import openai

    problems: list[BaseException] = [
        requests.ConnectionError("refused"),
        requests.ReadTimeout("late"),
        openai.OpenAIError("no choices"),
        OfflineRequestError("ValueError", "too many images"),
    ]
    for read in (lambda: json.loads("{"), lambda: pydantic.TypeAdapter(int).validate_python("x")):
        try:
            read()
        except ValueError as problem:
            problems.append(problem)
    return problems


def test_passed_and_skipped():
    assert outcome(None) is Outcome.PASS
    assert outcome(pytest.skip.Exception("why"), passed=False, skipped=True) is Outcome.SKIPPED


@pytest.mark.parametrize("problem", answer_errors(), ids=lambda it: type(it).__name__)
def test_a_bad_answer_is_the_products(problem):
    assert outcome(problem) is PRODUCT


@pytest.mark.parametrize(
    "problem",
    [
        AssertionError("expected 4, seen 5"),
        EngineStartError("did not start"),
        EngineDiedError("is gone"),
        pytest.fail.Exception("no"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_a_broken_promise_is_the_products(problem):
    assert outcome(problem) is PRODUCT


@pytest.mark.parametrize(
    "problem",
    [
        KeyError("usage"),
        TypeError("no"),
        ValueError("not JSON's"),
        OSError(28, "No space left"),
        MeasurementError("no result"),
        UsageProblem("no such variable"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_what_nobody_foresaw_is_the_suites(problem):
    assert outcome(problem) is SUITE


@pytest.mark.parametrize("when", ["setup", "teardown"])
@pytest.mark.parametrize(
    "problem", [EngineStartError("no"), AssertionError("no"), requests.ConnectionError("no")]
)
def test_setting_up_is_never_the_products(problem, when):
    assert outcome(problem, when) is SUITE


def test_too_little_evidence():
    assert outcome(InconclusiveError("12 more items")) is Outcome.INCONCLUSIVE
    assert outcome(InconclusiveError("12 more items"), "setup") is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("judged", [it for it in Outcome if it is not Outcome.PASS])
def test_a_judgement_is_taken_as_it_is(judged):
    evidence = Evidence()
    with pytest.raises(JudgedError) as caught:
        evidence.judge(judged, "p99 is 3 s", p99=3.0)
    assert evidence.values == {"judgement": "p99 is 3 s", "p99": 3.0}
    assert outcome(caught.value) is judged


def test_a_judged_pass_goes_on():
    evidence = Evidence()
    evidence.judge(Outcome.PASS, "p99 is 1 s")
    evidence.append("more", 1)
    evidence.append("more", 2)
    assert evidence.values == {"judgement": "p99 is 1 s", "more": [1, 2]}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ((), "pytest test_it"),
        (("--npus", "2", "-m", "serve"), "pytest --npus=2 test_it"),
        (("--npus=2", "-q", "--backend", "cpu"), "pytest --npus=2 --backend=cpu test_it"),
    ],
)
def test_a_result_is_reproduced_with_the_options_of_its_run(given, line):
    config = SimpleNamespace(invocation_params=SimpleNamespace(args=given))
    assert reproduce_line(SimpleNamespace(config=config, nodeid="test_it")) == line
