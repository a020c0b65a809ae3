"""Settings of a profile that hold for some versions of the engine only.

Wherever a profile has the value of an engine argument, of an environment variable or of a key
inside an argument's table (``additional_config``), it may have a binding instead, or a list of
bindings of which the first that holds counts::

    max_num_seqs = { value = 30, vllm = ">=0.25" }
    additional_config.enable_flashcomm1 = { value = false, vllm_ascend = "<0.24" }
    VLLM_ASCEND_ENABLE_NZ = [
      { value = "0", vllm_ascend = "<0.20" },
      { value = "1", vllm_ascend = ">=0.20" },
    ]

Ranges are PEP 440 version specifiers; a pre-release counts as the version it is. Where no binding
holds, the setting is left out, as if the profile did not have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.nearest import nearest

_RANGES = ("vllm", "vllm_ascend")
_KEYS = ("value", *_RANGES)
_LEFT_OUT = object()


@dataclass(frozen=True)
class EngineVersions:
    """The versions that bindings are held against.

    Attributes:
        vllm, vllm_ascend: versions; None for a distribution that is absent.
        unknown: which of the two nobody knows, so that nothing may be bound to it.
    """

    vllm: str | None = None
    vllm_ascend: str | None = None
    unknown: frozenset[str] = frozenset()


def check_argument(value: Any) -> Any:
    """``value`` as a profile may have it: what is meant as a binding must be a whole one.

    A table with any key of a binding is meant as one; every other table is the argument's own.

    Raises:
        ValueError: an unknown or missing key, or a range that is none.
    """
    for binding in _bindings(value) or ():
        _check(binding)
    if isinstance(value, dict) and not _is_binding(value):
        for name, inner in value.items():
            try:
                check_argument(inner)
            except ValueError as problem:
                raise ValueError(f"{name}: {problem}") from None
    return value


def check_variable(value: Any) -> Any:
    """An environment variable's value as a profile may have it: a string, or bindings of one.

    Raises:
        ValueError: it is neither.
    """
    bindings = _bindings(value)
    if bindings is None and isinstance(value, dict):
        bindings = [value]
    for binding in bindings or ():
        _check(binding)
    values = [value] if bindings is None else [binding["value"] for binding in bindings]
    if not values or not all(isinstance(one, str) for one in values):
        raise ValueError('should be a string, or a table such as { value = "1", vllm = ">=0.25" }')
    return value


def resolve(
    settings: Mapping[str, Any], versions: EngineVersions | None, where: str
) -> dict[str, Any]:
    """``settings`` as they are for these versions, bindings replaced by their values.

    Args:
        versions: None where nobody knows them, which only matters to settings that are bound.
        where: names the table, for messages.

    Raises:
        UsageProblem: a setting is bound and the version is unknown, or is no version.
    """
    resolved = {}
    for name, value in settings.items():
        kept = _resolve(value, versions, f"{where}.{name}")
        if kept is not _LEFT_OUT:
            resolved[name] = kept
    return resolved


def _resolve(value: Any, versions: EngineVersions | None, where: str) -> Any:
    bindings = _bindings(value)
    if bindings is None:
        return resolve(value, versions, where) if isinstance(value, dict) else value
    for binding in bindings:
        if all(_holds(name, binding[name], versions, where) for name in _RANGES if name in binding):
            return binding["value"]
    return _LEFT_OUT


def _holds(name: str, wanted: str, versions: EngineVersions | None, where: str) -> bool:
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    if versions is None or name in versions.unknown:
        raise UsageProblem(
            f"{where}: holds for {name} {wanted} only, and the version of {name} is not known; "
            "name an interpreter that has it (--engine-python) or the version "
            f"(pytest-qwenvl explain --{name.replace('_', '-')})"
        )
    there: str | None = getattr(versions, name)
    if there is None:
        return False
    try:
        version = Version(there)
    except InvalidVersion:
        raise UsageProblem(
            f"{where}: holds for {name} {wanted} only, and {there!r} is no version to compare"
        ) from None
    return SpecifierSet(wanted).contains(version, prereleases=True)


def _is_binding(value: object) -> bool:
    return isinstance(value, dict) and not value.keys().isdisjoint(_KEYS)


def _bindings(value: object) -> list[dict[str, Any]] | None:
    """The alternatives that ``value`` offers; None for a plain value."""
    if isinstance(value, dict) and _is_binding(value):
        return [value]
    if isinstance(value, list) and value and all(_is_binding(entry) for entry in value):
        return value
    return None


def _check(binding: dict[str, Any]) -> None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    for key in binding:
        if key not in _KEYS:
            hint = nearest(key, _KEYS) or f"; valid: {', '.join(_KEYS)}"
            raise ValueError(f"unknown key {key!r} in a value bound to versions{hint}")
    if "value" not in binding:
        raise ValueError("a value bound to versions needs the key 'value'")
    if not any(name in binding for name in _RANGES):
        raise ValueError("a value bound to versions needs a range: vllm, vllm_ascend, or both")
    for name in _RANGES:
        wanted = binding.get(name, "")
        try:
            if not isinstance(wanted, str) or (name in binding and not wanted.strip()):
                raise InvalidSpecifier
            SpecifierSet(wanted)
        except InvalidSpecifier:
            raise ValueError(
                f'{name} = {wanted!r} is no range of versions; write one such as ">=0.25,<0.27"'
            ) from None
