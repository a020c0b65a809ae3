"""From the bytes of a body to a validated object, with everything a lenient client hides.

``json.loads`` takes a key twice, NaN and 1e999; the ``openai`` client builds its types without
validating at all, and those types let unknown fields through. A conformance suite must see all of
that, so bodies are read here from their bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_qwenvl.protocol.findings import Finding, shorten

if TYPE_CHECKING:
    from pydantic import BaseModel

ModelT = TypeVar("ModelT", bound="BaseModel")


def read_json(body: bytes | str) -> tuple[dict[str, Any] | None, list[Finding]]:
    """The JSON object in ``body``; None, with a finding, where it holds none."""
    findings: list[Finding] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _ in items:
            if key in seen:
                findings.append(Finding(f"$..{key}", "each key once", "the key twice", kind="json"))
            seen.add(key)
        return dict(items)

    def constant(text: str) -> float:
        findings.append(Finding("$", "JSON numbers", text, kind="json"))
        return math.nan

    try:
        text = body if isinstance(body, str) else body.decode("utf-8")
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as problem:
        seen = f"{problem} in {shorten(body)}"
        return None, [*findings, Finding("$", "JSON in UTF-8", seen, kind="json")]
    if not isinstance(value, dict):
        return None, [*findings, Finding("$", "an object", shorten(value), kind="type")]
    findings += [
        Finding(path, "a finite number", str(number), kind="json")
        for path, number in _infinities(value, "")
    ]
    return value, findings


def _infinities(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float) and math.isinf(value):
        yield path, value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _infinities(child, join(path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _infinities(child, f"{path}[{index}]")


def join(path: str, key: str) -> str:
    """The path of ``key`` below ``path``."""
    return f"{path}.{key}" if path else key


def validate(
    data: dict[str, Any], model: type[ModelT], path: str = ""
) -> tuple[ModelT | None, list[Finding]]:
    """``data`` as an object of ``model``, strictly: no number for a text, no bool for a number.

    Fields that the model does not know are findings of severity ``warning``.
    """
    from pydantic import ValidationError

    try:
        value = model.model_validate(data, strict=True)
    except ValidationError as problem:
        return None, [_validation_finding(error, path) for error in problem.errors()]
    return value, [
        Finding(where, "no such field", shorten(extra), "warning", "extra")
        for where, extra in _extras(value, path)
    ]


def _validation_finding(error: Any, path: str) -> Finding:
    for part in error["loc"]:
        path = f"{path}[{part}]" if isinstance(part, int) else join(path, str(part))
    if error["type"] == "missing":
        return Finding(path or "$", "the key", "nothing", kind="missing")
    return Finding(path or "$", str(error["msg"]), shorten(error["input"]), kind="type")


def _extras(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        for key, extra in (value.model_extra or {}).items():
            yield join(path, key), extra
        for key in value.model_fields_set & set(type(value).model_fields):
            yield from _extras(getattr(value, key), join(path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _extras(child, f"{path}[{index}]")


def nulls(data: Any, paths: tuple[str, ...]) -> list[Finding]:
    """A warning for each of ``paths`` (``[]`` for any index) that holds null in ``data``."""
    return [
        Finding(path, "a value, or no such key", "null", "warning", "null")
        for pattern in paths
        for path in _null_paths(data, pattern.replace("[]", ".[]").split("."), "")
    ]


def _null_paths(data: Any, parts: list[str], path: str) -> Iterator[str]:
    first, rest = parts[0], parts[1:]
    if first == "[]":
        children = enumerate(data) if isinstance(data, list) else ()
        for index, child in children:
            yield from _null_paths(child, rest, f"{path}[{index}]")
    elif isinstance(data, dict) and first in data:
        if rest:
            yield from _null_paths(data[first], rest, join(path, first))
        elif data[first] is None:
            yield join(path, first)
