"""Known failures: which are excused, by whom, why and how long; and excuses nobody needs (pure).

A waiver turns a FAIL into WAIVED, which counts as what it is: a core requirement that was not
seen to pass. A waiver that is expired, names no requirement, or was not needed fails the run, so
that a file of waivers never says more than is true.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.nearest import nearest
from pytest_qwenvl.report.results import Outcome, Result, WaiverRecord
from pytest_qwenvl.report.verdict import Judged

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Waiver(BaseModel):
    """One known failure.

    Attributes:
        requirement: an id, or a glob over ids (``QVL-VID-*``).
        model, deployment: globs; every one unless said.
        reason: why it fails and where that is tracked.
        owner: who will see to it.
        expires: the last day on which it counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    requirement: Text
    model: Text = "*"
    deployment: Text = "*"
    reason: Text
    owner: Text
    expires: datetime.date

    def covers(self, requirement: str, model: str, deployment: str) -> bool:
        """Whether it is about this requirement there."""
        return (
            fnmatchcase(requirement, self.requirement)
            and fnmatchcase(model, self.model)
            and fnmatchcase(deployment, self.deployment)
        )


def load_waivers(path: Path) -> tuple[Waiver, ...]:
    """Read a file of ``[[waiver]]`` tables.

    Raises:
        UsageProblem: it is missing, no TOML, or breaks the schema; the message names the file,
            the entry and the key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageProblem(f"--waivers {path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageProblem(f"--waivers {path}: no TOML: {error}") from error
    unknown = sorted(content.keys() - {"waiver"})
    entries = content.get("waiver", [])
    if unknown or not isinstance(entries, list):
        seen = unknown[0] if unknown else "waiver"
        raise UsageProblem(
            f"--waivers {path}: {seen}: needs tables, each begun with [[waiver]], and nothing else"
        )
    return tuple(_waiver(path, number, entry) for number, entry in enumerate(entries, start=1))


def _waiver(path: Path, number: int, entry: Any) -> Waiver:
    try:
        return Waiver.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        hint = nearest(key, Waiver.model_fields) if first["type"] == "extra_forbidden" else ""
        if key == "expires":
            hint += "; write a day, such as expires = 2027-03-31"
        named = entry.get("requirement", "") if isinstance(entry, dict) else ""
        raise UsageProblem(
            f"--waivers {path}: waiver {number}{f' ({named})' if named else ''}: {key}: "
            f"{first['msg']}{hint}"
        ) from error


def waive(result: Result, waivers: Iterable[Waiver], today: datetime.date) -> Result:
    """``result``, WAIVED if it is a FAIL that a waiver covers which has not expired."""
    if result.outcome is not Outcome.FAIL:
        return result
    for waiver in waivers:
        if waiver.expires >= today and waiver.covers(
            result.requirement, result.model, result.deployment
        ):
            told = f"waived by {waiver.owner} until {waiver.expires}: {waiver.reason}"
            return result.model_copy(update={"outcome": Outcome.WAIVED, "waiver": told})
    return result


def review(
    waivers: Sequence[Waiver],
    known: Iterable[str],
    settled: Sequence[Judged],
    today: datetime.date,
) -> list[WaiverRecord]:
    """Every waiver with what is wrong with it, if anything.

    Args:
        known: ids of the catalogue.
        settled: what the run claimed, each claim with its one outcome. A waiver is unneeded when
            it covers some of that and all of it passed.
    """
    ids = list(known)
    records = []
    for waiver in waivers:
        covered = [judged for judged in settled if waiver.covers(
            judged.claim.requirement, judged.claim.model, judged.claim.deployment
        )]  # fmt: skip
        problem = ""
        if not any(fnmatchcase(name, waiver.requirement) for name in ids):
            problem = "stale: the catalogue has no such requirement" + nearest(
                waiver.requirement, ids
            )
        elif waiver.expires < today:
            problem = f"expired on {waiver.expires}"
        elif covered and all(judged.outcome == Outcome.PASS.value for judged in covered):
            problem = f"unneeded: what it covers passed ({len(covered)} in this run)"
        records.append(
            WaiverRecord(
                requirement=waiver.requirement,
                model=waiver.model,
                deployment=waiver.deployment,
                reason=waiver.reason,
                owner=waiver.owner,
                expires=waiver.expires.isoformat(),
                used=sum(judged.outcome == Outcome.WAIVED.value for judged in covered),
                problem=problem,
            )
        )
    return records
