"""Where versions of the engine are known to break a robustness or security requirement.

Like ``deviations.toml`` for bodies: the requirement stands as it is, and what a healthy engine of a
version gets wrong is written down as data, with the reason, until a version gets it right.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.protocol.findings import release_number

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("known_faults.toml")


class KnownFault(BaseModel):
    """One thing a range of engine versions gets wrong.

    Attributes:
        requirement: whose id it would break.
        case: the request, by its name in the requirement's test; ``*`` stands for any text.
        seen: what the engine does: a status such as ``500``, or ``no error object``.
        text: part of the answer's body, where the case alone would excuse too much.
        since, until: first and last version with it; ``until`` is empty while it lasts.
        why: what happens, and how it is known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    requirement: str = Field(pattern=r"^QVL-[A-Z]+-\d{3}$")
    case: str = Field(min_length=1)
    seen: str = Field(min_length=3)
    text: str = ""
    since: str
    until: str = ""
    why: str = Field(min_length=20)

    @field_validator("since", "until")
    @classmethod
    def _is_version(cls, value: str) -> str:
        if value:
            release_number(value)
        return value

    def holds_for(self, version: str) -> bool:
        """Whether an engine of this version has it; an empty version means: any."""
        if not version:
            return True
        number = release_number(version)
        return release_number(self.since) <= number and (
            not self.until or number <= release_number(self.until)
        )

    def covers(self, case: str, seen: str, text: str) -> bool:
        """Whether this is what was seen, and read, in this case."""
        return seen == self.seen and fnmatch.fnmatchcase(case, self.case) and self.text in text


def load_known_faults(path: Path = FILE, version: str = "") -> tuple[KnownFault, ...]:
    """The faults in a file of ``[[fault]]`` tables that an engine of ``version`` has.

    Args:
        version: empty when it is unknown, which takes all.

    Raises:
        UsageProblem: the file cannot be read, or an entry is not of this form.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UsageProblem(f"the known faults {path} cannot be read: {problem}") from problem
    if set(data) != {"fault"} or not isinstance(data["fault"], list):
        raise UsageProblem(f"{path}: expected a list [[fault]] and nothing else")
    return tuple(fault for fault in _faults(path, data["fault"]) if fault.holds_for(version))


def _faults(path: Path, entries: Sequence[Any]) -> Iterable[KnownFault]:
    for number, entry in enumerate(entries, start=1):
        try:
            yield KnownFault.model_validate(entry)
        except ValidationError as problem:
            error = problem.errors()[0]
            where = ".".join(map(str, error["loc"]))
            raise UsageProblem(f"{path}: fault {number}: {where}: {error['msg']}") from problem
