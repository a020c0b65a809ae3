"""From what pytest saw of a test to the result of its requirement."""

from __future__ import annotations

import itertools
import shlex
from typing import Any

import pytest

from pytest_qwenvl.capabilities import UnsupportedError
from pytest_qwenvl.catalogue import Catalogue
from pytest_qwenvl.collection import planned_of, requirement_of
from pytest_qwenvl.errors import (
    EngineError,
    InconclusiveError,
    MeasurementError,
)
from pytest_qwenvl.report.results import Outcome, Requirement, Result

_REASON_LINES = 40


class JudgedError(Exception):
    """A measurement was judged and is not a PASS; raised by ``evidence.judge``."""

    def __init__(self, outcome: Outcome, sentence: str) -> None:
        self.outcome = outcome
        super().__init__(sentence)


class Evidence:
    """What one test measured, kept raw enough to be judged again without running."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def record(self, **values: Any) -> None:
        """Keep values under their names; JSON values only, the last of a name wins."""
        self.values.update(values)

    def append(self, name: str, value: Any) -> None:
        """Keep one more value in the list called ``name``."""
        self.values.setdefault(name, []).append(value)

    def judge(self, outcome: Outcome, sentence: str, **values: Any) -> None:
        """Keep a judgement and its numbers; anything but PASS ends the test with that outcome."""
        self.record(judgement=sentence, **values)
        if outcome is not Outcome.PASS:
            raise JudgedError(outcome, sentence)


EVIDENCE = pytest.StashKey[Evidence]()
LOG_OFFSET = pytest.StashKey[int]()


def outcome_of(report: pytest.TestReport, call: pytest.CallInfo[None]) -> Outcome:
    """What pytest's outcome of one phase means for the requirement.

    A failed assertion, a server that does not answer and an engine that dies are the product's;
    a failed set-up and an exception nobody foresaw are the suite's or the host's.
    """
    problem = call.excinfo.value if call.excinfo else None
    if report.skipped:
        lacking = isinstance(problem, UnsupportedError)
        return Outcome.UNSUPPORTED if lacking else Outcome.SKIPPED
    if report.passed:
        return Outcome.PASS
    if isinstance(problem, JudgedError):
        return problem.outcome
    if isinstance(problem, InconclusiveError):
        return Outcome.INCONCLUSIVE
    if report.when != "call" or isinstance(problem, MeasurementError):
        return Outcome.ERROR
    if isinstance(problem, AssertionError | EngineError):
        return Outcome.FAIL
    if isinstance(problem, pytest.fail.Exception) or _is_answer_problem(problem):
        return Outcome.FAIL
    return Outcome.ERROR


def _is_answer_problem(problem: BaseException | None) -> bool:
    """Whether an exception says that the server's answer, or its silence, is at fault."""
    names = {f"{it.__module__.partition('.')[0]}.{it.__name__}" for it in type(problem).__mro__}
    return bool(
        names
        & {
            "requests.RequestException",
            "openai.OpenAIError",
            "pydantic_core.ValidationError",
            "json.JSONDecodeError",
            "pytest_qwenvl.OfflineRequestError",
        }
    )


def result_of(
    item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None], catalogue: Catalogue
) -> Result | None:
    """The result of an item's requirement; None for a phase that decides nothing."""
    requirement_id = requirement_of(item)
    if requirement_id is None or (report.when != "call" and report.passed):
        return None
    requirement: Requirement = catalogue[requirement_id]
    outcome = outcome_of(report, call)
    planned = planned_of(item)
    evidence = item.stash.get(EVIDENCE, None)
    return Result(
        requirement=requirement.id,
        group=requirement.group,
        level=requirement.level,
        test=item.nodeid,
        model=planned.profile.name if planned else "",
        deployment=planned.deployment.name if planned else "",
        outcome=outcome,
        reason="" if outcome is Outcome.PASS else _reason(report, call),
        evidence=dict(evidence.values) if evidence else {},
        duration=call.duration if report.when == "call" else 0.0,
        setup=item.stash.get(SETUP_SECONDS, 0.0),
        started=call.start,
        log="" if outcome is Outcome.PASS else _log_of(item),
        reproduce=reproduce_line(item),
    )


SETUP_SECONDS = pytest.StashKey[float]()


def _reason(report: pytest.TestReport, call: pytest.CallInfo[None]) -> str:
    if call.excinfo is None:
        return ""
    if isinstance(call.excinfo.value, UnsupportedError):
        return str(call.excinfo.value)
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    problem = call.excinfo.value
    if isinstance(problem, AssertionError):
        # pytest's own rewriting adds how the expression came out; our sentence says it already.
        text = str(problem).split("\nassert ")[0] or call.excinfo.exconly()
    elif outcome_of(report, call) is Outcome.ERROR and report.when == "call":
        text = call.excinfo.exconly() + f" (at {report.location[0]}:{report.location[1]})"
    else:
        text = str(problem) or type(problem).__name__
    lines = text.splitlines()
    if len(lines) > _REASON_LINES:
        lines = [*lines[:_REASON_LINES], f"… {len(lines) - _REASON_LINES} more lines"]
    return "\n".join(lines)


def _log_of(item: pytest.Item) -> str:
    """What the engine wrote since the test began; its last lines when that is nothing."""
    engine = engine_of(item)
    if engine is None:
        return ""
    text = engine.log_since(item.stash.get(LOG_OFFSET, 0)) or engine.log_tail()
    return "\n".join(text.splitlines()[-_REASON_LINES:])


def engine_of(item: pytest.Item) -> Any:
    """The engine a test was given; None also for a fixture of the same name that is none."""
    given = getattr(item, "funcargs", {})
    engines = (given.get(name) for name in ("server", "offline_llm"))
    return next((engine for engine in engines if hasattr(engine, "log_offset")), None)


def reproduce_line(item: pytest.Item) -> str:
    """The command that runs one test again, with the options of this run."""
    given = [str(argument) for argument in item.config.invocation_params.args]
    kept: list[str] = []
    for argument, following in itertools.zip_longest(given, given[1:], fillvalue=""):
        flag, has_value, _ = argument.partition("=")
        if flag in _REPRODUCED:
            kept.append(argument if has_value else f"{flag}={following}")
    return shlex.join(["pytest", *kept, item.nodeid])


_REPRODUCED = {
    "--npus",
    "--model",
    "--profiles",
    "--backend",
    "--weights-root",
    "--engine-python",
    "--launcher",
    "--image",
    "--container-runtime",
    "--container-option",
    "--endpoint",
    "--api-key-env",
    "--served-model-name",
    "--soak",
}
