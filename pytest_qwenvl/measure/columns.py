"""Numbers of a load, checked one by one: common ground of the client's file and of a report.

``where`` names the file, or the part of a report, that is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from pytest_qwenvl.errors import MeasurementError


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    # json.loads turns 1e999 into infinity without telling, so parse_constant alone does not do.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_duration(value: Any) -> bool:
    """Whether it is a finite number, 0 or more."""
    return is_number(value) and value >= 0


def is_count(value: Any) -> bool:
    """Whether it is a whole number, 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_gaps(value: Any) -> bool:
    """Whether it is a list of durations."""
    return isinstance(value, list) and all(is_duration(gap) for gap in value)


def is_text(value: Any) -> bool:
    """Whether it is text."""
    return isinstance(value, str)


WANTED: dict[Callable[[Any], bool], str] = {
    is_number: "seconds",
    is_duration: "seconds, 0 or more",
    is_count: "a whole number, 0 or more",
    is_gaps: "a list of seconds, 0 or more",
    is_text: "text",
}
"""Each check in words, for messages."""


def column(
    data: Mapping[str, Any], key: str, accepts: Callable[[Any], bool], where: object
) -> list[Any]:
    """The list under ``key``, every value of which is accepted.

    Raises:
        MeasurementError: no list, or a value in it that is not.
    """
    values = data.get(key)
    if not isinstance(values, list):
        raise MeasurementError(f"{where}: {key} is a {type(values).__name__}, not a list")
    for index, value in enumerate(values):
        if not accepts(value):
            raise MeasurementError(
                f"{where}: {key}[{index}] is {repr(value)[:80]}; expected {WANTED[accepts]}"
            )
    return values


def total(data: Mapping[str, Any], key: str, accepts: Callable[[Any], bool], where: object) -> Any:
    """The value under ``key``; raises MeasurementError for one that is not accepted."""
    value = data.get(key)
    if not accepts(value):
        raise MeasurementError(f"{where}: {key} is {value!r}; expected {WANTED[accepts]}")
    return value


def rate(value: Any, where: object) -> float:
    """A request rate: a number above 0, or ``inf``; raises MeasurementError for anything else."""
    if value == "inf":
        return math.inf
    if not (is_number(value) and value > 0):
        raise MeasurementError(f"{where}: request_rate is {value!r}; expected a number above 0")
    return float(value)


def concurrency(value: Any, where: object) -> float | None:
    """A limit on concurrency or None; raises MeasurementError for anything else."""
    if value is not None and not is_number(value):
        raise MeasurementError(f"{where}: max_concurrency is {value!r}; expected a number or null")
    return None if value is None else float(value)


def numbers(data: Mapping[str, Any], where: object) -> dict[str, float]:
    """Every number at the top level; raises MeasurementError for NaN and infinity."""
    found: dict[str, float] = {}
    for key, value in data.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise MeasurementError(f"{where}: {key} is {value}, which is no measurement")
            found[key] = float(value)
    return found
