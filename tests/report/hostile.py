"""A run in which every text that others can write tries to be more than text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_qwenvl.report.results import RunRecord
from tests.report.pages import full_run

BREAK_OUTS = (
    "<script>pwned()</script>",
    "</script><script>pwned()</script>",
    "</style><img src=x onerror=pwned()>",
    '"><svg/onload=pwned()>',
    "' onmouseover='pwned()' autofocus onfocus='pwned()",
    "javascript:pwned()",
    "</pre></details></main></title></textarea><iframe srcdoc='<script>parent.pwned()</script>'>",
    "--><!--<!doctype html><base href=//evil.example/><meta http-equiv=refresh content=0;url=//x>",
    "{{ pwned() }}{% include 'x' %}${pwned()}␟{0}",
    "&lt;script&gt;pwned()&lt;/script&gt;&#60;img src=x onerror=pwned()&#62;",
    "data:text/html,<script>pwned()</script>",
)
DECEIVING = (
    "abc\u202edcba\u2066\u2069 \u200e\u200f\u061c",
    "null\x00byte \x1b[31mred\x1b[0m \x1b]0;title\x07 \x08\x7f\x85 \ufeff\u200b\u2028",
    "not Unicode: \ud800 \udfff",
)
HOSTILE = " ".join([*BREAK_OUTS, *DECEIVING])

_ENUMS = frozenset({"group", "level", "outcome", "kind", "verdict", "per", "applies_to", "backend"})


def hostile_run(text: str = HOSTILE) -> RunRecord:
    """``full_run`` with ``text`` after every text in it, keys of tables included.

    Enumerations keep their values, and ids stay apart, so that every part of the page is drawn.
    """
    return spoilt(full_run(scope="-m serve", endpoint="http://e"), text)


def spoilt(value: Any, text: str) -> Any:
    """``value`` with ``text`` behind every text of it; a record's fields are known by name."""
    if hasattr(value, "model_copy"):
        fields = type(value).model_fields
        return value.model_copy(
            update={
                name: _of_field(name, getattr(value, name), text)
                for name in fields
                if name != "schema_version"
            }
        )
    if isinstance(value, str):
        return value + text
    if isinstance(value, dict):
        return {f"{key}{text}": spoilt(its, text) for key, its in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(spoilt(its, text) for its in value)
    return value


def _of_field(name: str, value: Any, text: str) -> Any:
    if name in _ENUMS and name != "group":
        return value
    if name == "group":
        # The plots look for two groups by name.
        return value if value in ("accuracy", "latency") else value + text
    if name == "planned":
        return [spoilt_claim(claim, text) for claim in value]
    if name == "evidence":
        return {**spoilt(value, text), **_drawn(value, text)}
    return spoilt(value, text)


def spoilt_claim(claim: str, text: str) -> str:
    """A claim whose model and requirement end as those of the results do."""
    place, _, requirement = claim.rpartition(" ")
    model, _, deployment = place.partition("/")
    # A blank would end the requirement.
    return f"{model}{text}/{deployment}{text} {requirement}" if "/" not in text else claim


def _drawn(evidence: dict[str, Any], text: str) -> dict[str, Any]:
    """What plots are made of under its own keys, its texts spoilt all the same."""
    drawn: dict[str, Any] = {}
    for key in ("measurement", "budgets", "task", "score", "floor", "interval", "workload"):
        if key in evidence:
            drawn[key] = _values_spoilt(evidence[key], text)
    return drawn


def _values_spoilt(value: Any, text: str) -> Any:
    if isinstance(value, str):
        # What tells a metric, a failed request and a measurement apart stays what it is.
        return value if value in ("ttft", "load", "evaluation", "") else value + text
    if isinstance(value, dict):
        return {key: _values_spoilt(its, text) for key, its in value.items()}
    if isinstance(value, list):
        return [_values_spoilt(its, text) for its in value]
    return value


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a record, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, its in value.items():
            yield from texts_of(key)
            yield from texts_of(its)
    elif isinstance(value, (list, tuple)):
        for its in value:
            yield from texts_of(its)
