"""Answers that must be JSON (``response_format``), whole or cut off by ``max_tokens``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.protocol.body import read_json, validate
from pytest_qwenvl.protocol.findings import shorten

if TYPE_CHECKING:
    from pydantic import BaseModel


def objection_to_json(text: str, *, whole: bool, model: type[BaseModel] | None = None) -> str:
    """Why ``text`` is not the JSON object that was asked for; empty when it is.

    Args:
        text: the answer, nothing stripped: a code fence around it breaks every parser.
        whole: whether the answer ended by itself; one that was cut off must be the beginning of
            such an object.
        model: the schema that was asked for; any object when None.
    """
    if whole:
        data, findings = read_json(text)
        if data is not None and model is not None:
            findings += validate(data, model)[1]
    else:
        data, problem = _beginning(text)
        if data is None:
            return problem
        findings = []
        if model is not None:
            # The last value may be cut; those before it are whole.
            last = list(data)[-1:]
            findings = [
                finding
                for finding in validate(data, model)[1]
                if finding.kind != "missing"
                and finding.path.split("[")[0].split(".")[0] not in last
            ]
            unknown = sorted(set(data) - set(model.model_fields))
            if unknown:
                return f"it has the keys {unknown}, the schema {sorted(model.model_fields)}"
    return "; ".join(str(finding) for finding in findings[:3])


def _beginning(text: str) -> tuple[dict[str, Any] | None, str]:
    from pydantic_core import from_json

    # What follows a whole value, from_json leaves unread.
    try:
        _, end = json.JSONDecoder().raw_decode(text.lstrip())
    except ValueError:
        end = len(text.lstrip())
    if text.lstrip()[end:].strip():
        return None, f"something after the JSON: {shorten(text)}"
    try:
        value = from_json(text, allow_partial=True)
    except ValueError as problem:
        return None, f"no beginning of JSON: {problem} in {shorten(text)}"
    if not isinstance(value, dict):
        return None, f"expected the beginning of an object, seen {shorten(text)}"
    return value, ""
