"""What a reader objects to, and the documented deviations it does not object to."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pytest_qwenvl.errors import UsageProblem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Severity = Literal["error", "warning"]
Kind = Literal["json", "missing", "type", "null", "extra", "meaning"]
Subject = Literal[
    "form", "id", "created", "model", "choices", "role", "content", "finish", "usage", "logprobs",
    "transport", "end", "error",
]  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing in a body that is not as it must be.

    Attributes:
        path: where, e.g. ``choices[0].message.content``; ``$`` is the whole body.
        expected: what belongs there.
        seen: what was there, shortened.
        severity: ``error`` breaks a client; ``warning`` departs from the specification only.
        kind: what sort of thing; a documented deviation covers one kind.
        about: which promise is broken, so that one broken thing is blamed on one requirement:
            ``form`` is the schema's, ``transport`` and ``end`` the event stream's.
    """

    path: str
    expected: str
    seen: str
    severity: Severity = "error"
    kind: Kind = "meaning"
    about: Subject = "form"

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, seen {self.seen} ({self.severity})"


@dataclass(frozen=True)
class Deviation:
    """A departure of an engine from the specification that is known and accepted.

    Attributes:
        object: the body it is in, by its ``object`` value; ``error`` for an error body.
        path: with ``[]`` for any index, e.g. ``choices[].token_ids``.
        kind: ``extra`` (a field the specification lacks), ``null`` (null where it allows none),
            ``type`` (another type).
        since: first version of the engine with it.
        until: last version of the engine with it; empty while it lasts.
        why: what the field is for, and where that is written.
    """

    object: str
    path: str
    kind: Kind
    since: str
    until: str
    why: str

    def holds_for(self, version: str) -> bool:
        """Whether an engine of this version has it; an empty version means: any."""
        if not version:
            return True
        number = release_number(version)
        return release_number(self.since) <= number and (
            not self.until or number <= release_number(self.until)
        )


def release_number(version: str) -> tuple[int, ...]:
    """``0.32.0+cpu`` as ``(0, 32, 0)``: what two versions are compared by.

    Raises:
        ValueError: a version that does not begin with a number.
    """
    match = re.match(r"v?(\d+(?:\.\d+)*)", version)
    if match is None:
        raise ValueError(f"{version!r} is no version")
    parts = [int(part) for part in match[1].split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


def load_deviations(path: Path, version: str = "") -> tuple[Deviation, ...]:
    """The deviations in a TOML file that hold for an engine of ``version``.

    The file is a list ``[[deviation]]`` with the attributes of :class:`Deviation` as keys, all
    required but ``until``.

    Args:
        path: the policy's file.
        version: of the engine; empty when it is unknown (an attached server), which takes all.

    Raises:
        UsageProblem: the file cannot be read, or an entry is not of this form.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise UsageProblem(f"the list of deviations {path} cannot be read: {problem}") from problem
    entries = data.get("deviation")
    if not isinstance(entries, list) or set(data) != {"deviation"}:
        raise UsageProblem(f"{path}: expected a list [[deviation]] and nothing else")
    deviations = [
        _deviation(entry, f"{path}: deviation {number}")
        for number, entry in enumerate(entries, start=1)
    ]
    return tuple(deviation for deviation in deviations if deviation.holds_for(version))


def _deviation(entry: Any, where: str) -> Deviation:
    required = {"object", "path", "kind", "since", "why"}
    keys = set(entry) if isinstance(entry, dict) else set()
    if not required <= keys <= required | {"until"}:
        wrong = ", ".join(sorted((required - keys) | (keys - required - {"until"})))
        raise UsageProblem(f"{where}: missing or unknown keys: {wrong or 'not a table'}")
    for key, value in entry.items():
        if not isinstance(value, str) or (not value and key != "until"):
            raise UsageProblem(f"{where}: {key} is {value!r}; expected a text")
    if entry["kind"] not in get_args(Kind):
        raise UsageProblem(
            f"{where}: kind is {entry['kind']!r}; one of {', '.join(get_args(Kind))}"
        )
    deviation = Deviation(**{"until": "", **entry})
    try:
        release_number(deviation.since)
        release_number(deviation.until or deviation.since)
    except ValueError as problem:
        raise UsageProblem(f"{where}: {problem}") from problem
    return deviation


def undocumented(
    findings: Iterable[Finding], body: str, deviations: Iterable[Deviation]
) -> list[Finding]:
    """The findings in a body of this ``object`` that no deviation documents."""
    known = {(each.path, each.kind) for each in deviations if each.object == body}
    return [
        finding
        for finding in findings
        if (re.sub(r"\[\d+\]", "[]", finding.path), finding.kind) not in known
    ]


def about(findings: Iterable[Finding], *subjects: Subject) -> list[Finding]:
    """Those of the findings that concern one of ``subjects``."""
    return [finding for finding in findings if finding.about in subjects]


def shorten(value: Any, length: int = 120) -> str:
    """A value as a finding shows it: its repr, cut in the middle when it is long."""
    text = repr(value)
    half = (length - 3) // 2
    return text if len(text) <= length else f"{text[:half]}...{text[-half:]}"
