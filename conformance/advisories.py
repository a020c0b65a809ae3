"""Published advisories of vLLM, as dated data, and which of them a version falls under."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pytest_qwenvl.errors import UsageProblem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("advisories.toml")


class Advisory(BaseModel):
    """One advisory.

    Attributes:
        id: and ``aliases``, as published.
        affected: version specifier of the releases that have it, e.g. ``>=0.20.0,<0.30.0``.
        summary: what goes wrong.
        condition: the configuration that it needs; empty when every server has it.
        observed_by: ids of the requirements that would see it happen, if any can.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str = Field(pattern=r"^(CVE|GHSA|PYSEC)-[\w-]+$")
    aliases: list[str] = Field(default_factory=list)
    affected: str
    summary: str = Field(min_length=15)
    condition: str = ""
    observed_by: list[str] = Field(default_factory=list)

    @field_validator("affected")
    @classmethod
    def _is_specifier(cls, value: str) -> str:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        try:
            SpecifierSet(value)
        except InvalidSpecifier as problem:
            raise ValueError(str(problem)) from problem
        return value

    def affects(self, version: str) -> bool:
        """Whether a release falls in the affected range; its local part is left aside."""
        from packaging.specifiers import SpecifierSet
        from packaging.version import Version

        return SpecifierSet(self.affected).contains(Version(version).public, prereleases=True)


class AdvisoryTable(BaseModel):
    """All of them, as they were known on a day.

    Attributes:
        date: when the sources were last read; what was published later is not here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: datetime.date
    source: str
    advisory: list[Advisory] = Field(min_length=1)

    def of(self, version: str) -> list[Advisory]:
        """The advisories that a release falls under.

        Raises:
            ValueError: ``version`` is none.
        """
        return [advisory for advisory in self.advisory if advisory.affects(version)]


def load_advisories(path: Path = FILE) -> AdvisoryTable:
    """Read the table.

    Raises:
        UsageProblem: the file cannot be read, or an entry is not of this form.
    """
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return AdvisoryTable.model_validate(data)
    except ValidationError as problem:
        error = problem.errors()[0]
        where = ".".join(map(str, error["loc"]))
        raise UsageProblem(f"{path}: {where}: {error['msg']}") from problem
    except (OSError, ValueError) as problem:
        raise UsageProblem(f"the table of advisories {path} cannot be read: {problem}") from problem
