"""The compatibility table: which versions, files and settings belong together.

Data, with a source for every row; the suite's is ``conformance/compatibility.toml``. Versions are
looked up as pairs and never derived from each other: vllm-ascend 0.14.0rc1 belongs to vLLM 0.14.1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, Field, ValidationError, model_validator

from pytest_qwenvl.devices.npu import Generation
from pytest_qwenvl.errors import InconclusiveError, UsageProblem
from pytest_qwenvl.profile_fields import Model, Scalar, Source

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _is_range(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        raise ValueError(f"{text!r} is no range of versions, such as '>=3.10,<3.13'") from None
    return text


VersionRange = Annotated[str, AfterValidator(_is_range)]


class VersionSet(Model):
    """One release of vllm-ascend, and what it was released for.

    Attributes:
        vllm_ascend: the release itself, exactly.
        vllm, torch, torch_npu, python: ranges of versions.
        cann: CANN's versions, exactly and in its own spelling (``8.3.RC2``).
    """

    vllm_ascend: str
    vllm: VersionRange
    python: VersionRange
    torch: VersionRange
    torch_npu: VersionRange
    cann: list[str] = Field(min_length=1)
    source: Source


class DriverSet(Model):
    """The drivers that a release of CANN supports, by the beginnings of both versions."""

    cann: str
    drivers: list[str] = Field(min_length=1)
    source: Source


class Hardware(Model):
    """What a host of one kind has beside its NPUs.

    Attributes:
        name: a generation, or ``cpu``.
        device_types: how vllm-ascend calls the generation in its wheels.
        nodes: device nodes in ``/dev`` beside ``davinciN``.
        files: files, and folders (with a slash at the end), of the driver; ``{driver}`` stands for
            where the driver is installed.
        shared_memory_gib: smallest size of ``/dev/shm``.
        shared_memory_free_gib: smallest room left in it.
    """

    name: Generation | Literal["cpu"]
    device_types: list[str] = Field(default_factory=list)
    nodes: list[str] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)
    shared_memory_gib: float = Field(gt=0)
    shared_memory_free_gib: float = Field(gt=0)
    source: Source


class DiskRoom(Model):
    """Smallest room (GiB) for what an engine writes while it runs.

    Attributes:
        temporary_gib: in the folder for temporary files.
        cache_gib: where compiled graphs and kernels are kept.
    """

    temporary_gib: float = Field(gt=0)
    cache_gib: float = Field(gt=0)
    source: Source


class SettingRule(Model):
    """A setting that must not be there, and when.

    Exactly one of ``variable`` (a glob over environment variables) and ``argument`` (an engine
    argument, with dots into tables) says what is looked at; everything else narrows it.

    Attributes:
        contains: texts that the variable's value must all contain.
        values: values of the argument; any value where this is empty.
        generations, backends: where the rule holds; everywhere when empty.
        vllm, vllm_ascend: ranges of versions for which it holds.
    """

    name: str
    variable: str | None = None
    argument: str | None = None
    contains: list[str] = Field(default_factory=list)
    values: list[Scalar] = Field(default_factory=list)
    generations: list[Generation] = Field(default_factory=list)
    backends: list[Literal["npu", "cpu"]] = Field(default_factory=list)
    vllm: VersionRange = ""
    vllm_ascend: VersionRange = ""
    expected: str
    remedy: str
    source: Source

    @model_validator(mode="after")
    def _looks_at_one_thing(self) -> SettingRule:
        if (self.variable is None) == (self.argument is None):
            raise ValueError("needs either variable or argument")
        if self.contains and self.variable is None:
            raise ValueError("contains is for a variable; an argument has values")
        if self.values and self.argument is None:
            raise ValueError("values are for an argument; a variable has contains")
        return self


class CompatibilityTable(Model):
    """Everything in ``compatibility.toml``."""

    release: list[VersionSet] = Field(min_length=1)
    driver: list[DriverSet] = Field(min_length=1)
    hardware: list[Hardware] = Field(min_length=1)
    disk: DiskRoom
    setting: list[SettingRule] = Field(default_factory=list)

    def release_of(self, vllm_ascend: str) -> VersionSet:
        """The row of a release of vllm-ascend.

        Raises:
            InconclusiveError: the table has none; nothing follows from its neighbours.
        """
        for row in self.release:
            if _same_release(row.vllm_ascend, vllm_ascend):
                return row
        known = ", ".join(row.vllm_ascend for row in self.release)
        raise InconclusiveError(
            f"the compatibility table has no vllm-ascend {vllm_ascend} (it has {known}); add its "
            "row from vllm-ascend's versioning policy"
        )

    def drivers_of(self, cann: str) -> DriverSet:
        """The row of a release of CANN, the closest when there are several.

        Raises:
            InconclusiveError: the table has none.
        """
        fitting = [row for row in self.driver if begins_with(cann, row.cann)]
        if not fitting:
            raise InconclusiveError(
                f"the compatibility table has no drivers for CANN {cann}; add them from the "
                "release notes of that CANN"
            )
        return max(fitting, key=lambda row: len(row.cann))

    def hardware_of(self, name: str) -> Hardware:
        """What a host of this kind has.

        Raises:
            InconclusiveError: the table does not have the kind.
        """
        for row in self.hardware:
            if row.name == name:
                return row
        raise InconclusiveError(f"the compatibility table has no hardware {name!r}")


def load_table(path: Path) -> CompatibilityTable:
    """Read a compatibility table.

    Raises:
        UsageProblem: it is missing, no TOML, or breaks the schema; names file and key.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageProblem(
            f"{path}: no such file; the suite keeps its compatibility table beside its catalogue"
        ) from None
    except (OSError, ValueError) as problem:
        raise UsageProblem(f"{path}: cannot be read: {problem}") from None
    try:
        return CompatibilityTable.model_validate(content)
    except ValidationError as problem:
        raise UsageProblem("\n".join(_explain(path, it) for it in problem.errors())) from None


def _explain(path: Path, error: Any) -> str:
    key = "".join(f"[{it}]" if isinstance(it, int) else f".{it}" for it in error["loc"])
    return f"{path}: {key.lstrip('.') or '(table)'}: {error['msg'].removeprefix('Value error, ')}"


def begins_with(version: str, beginning: str) -> bool:
    """Whether ``version`` is ``beginning`` or a version of that line, part by part."""
    parts = version.lower().split(".")
    return parts[: beginning.count(".") + 1] == beginning.lower().split(".")


def in_range(version: str, allowed: str) -> bool:
    """Whether a version lies in a range; a build (``+cpu``) counts as the version it builds."""
    try:
        return SpecifierSet(allowed).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _same_release(row: str, seen: str) -> bool:
    try:
        return Version(row) == Version(Version(seen).public)
    except InvalidVersion:
        return row == seen
