"""JSON as a judge must read it: no NaN, no infinity, no key twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_qwenvl.errors import MeasurementError


def _refuse_constant(text: str) -> float:
    raise ValueError(f"the number {text}, which is no measurement")


def _refuse_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    repeated = sorted({key for key in keys if keys.count(key) > 1}) if len(keys) < 200 else []
    if repeated or len(set(keys)) != len(keys):
        raise ValueError(f"a key more than once in one object: {', '.join(repeated) or '…'}")
    return dict(pairs)


def parse_measured(text: str) -> Any:
    """Parse JSON that a measuring program wrote.

    Raises:
        ValueError: no JSON, NaN or infinity in it, or a key twice in one object.
    """
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_repetition)


def read_object(path: Path, program: str) -> dict[str, Any]:
    """The JSON object in ``path``, written by ``program``.

    Raises:
        MeasurementError: the file is missing, unreadable, truncated, no JSON object, or holds a
            number that is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise MeasurementError(
            f"{program} left no readable result: {path}: {problem}; see its log"
        ) from problem
    try:
        value = parse_measured(text)
    except (ValueError, RecursionError) as problem:
        raise MeasurementError(
            f"the result of {program} in {path} ({len(text)} characters) cannot be judged: "
            f"{problem}; run it again, and see its log if that repeats"
        ) from problem
    if not isinstance(value, dict):
        raise MeasurementError(
            f"the result of {program} in {path} is a JSON {type(value).__name__}, not an object"
        )
    return value
