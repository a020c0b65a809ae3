"""Reading profile files: inheritance, overlays, and errors that name file, key and remedy."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.nearest import nearest
from pytest_qwenvl.profile import Deployment, ModelProfile

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Table = dict[str, Any]


def load_profiles(directories: Iterable[Path]) -> dict[str, ModelProfile]:
    """Every profile in ``directories``, by name, in order of name.

    A file with ``overlay = NAME`` changes the profile of that name from an earlier directory; a
    file with ``extends = [FILE, …]`` starts from other files, relative to itself. Tables merge
    key by key, arrays of named tables by their ``name``, everything else is replaced.

    Raises:
        UsageProblem: a directory that is missing, a file that is not TOML or does not fit the
            schema, an overlay of nothing, two files with one name.
    """
    # name -> (file that defines it, every file it was read from, the last to blame, content)
    tables: dict[str, tuple[Path, list[Path], Table]] = {}
    for directory in directories:
        if not directory.is_dir():
            raise UsageProblem(f"--profiles {directory}: no such directory")
        files = sorted(directory.glob("*.toml"))
        if not files:
            raise UsageProblem(f"--profiles {directory}: holds no profile (*.toml)")
        read = [(file, *_read_with_bases(file)) for file in files]
        # Overlays last, so that they may change a profile of their own directory too.
        for file, sources, table in sorted(read, key=lambda one: "overlay" in one[2]):
            overlaid = table.pop("overlay", None)
            if overlaid is not None:
                if overlaid not in tables:
                    raise UsageProblem(
                        f"{file}: overlay = {overlaid!r} names no profile"
                        + nearest(str(overlaid), tables)
                    )
                defined_in, others, before = tables[overlaid]
                tables[overlaid] = (defined_in, [*others, *sources], _merge(before, table))
                continue
            name = str(table.get("name", file.stem))
            if name in tables:
                raise UsageProblem(
                    f"{file}: the profile {name!r} is already in {tables[name][0]}; "
                    f'to change that one, write overlay = "{name}"'
                )
            tables[name] = (file, sources, table)
    profiles = {name: _validate(*entry) for name, entry in tables.items()}
    return dict(sorted(profiles.items()))


def select_profiles(
    profiles: Mapping[str, ModelProfile], patterns: Iterable[str]
) -> dict[str, ModelProfile]:
    """The profiles whose names match any of ``patterns`` (globs).

    Raises:
        UsageProblem: a pattern that matches nothing, with the nearest names.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        matching = [name for name in profiles if fnmatchcase(name, pattern)]
        if not matching:
            raise UsageProblem(
                f"--model {pattern}: matches no profile{nearest(pattern, profiles)}\n"
                f"profiles: {', '.join(profiles)}"
            )
        chosen.update(matching)
    return {name: profile for name, profile in profiles.items() if name in chosen}


def written_in(profile: ModelProfile, deployment: Deployment, setting: str) -> Path:
    """The file that has the last word on an argument or variable of a deployment.

    That is an overlay, the profile's own file, or one that it extends.
    """
    for file in reversed(profile.sources):
        table = _read(file)
        own = [it for it in table.get("deployments", []) if it.get("name") == deployment.name]
        for settings in (*own, *table.get("engine", {}).values()):
            if setting in {**settings.get("arguments", {}), **settings.get("environment", {})}:
                return file
    return profile.path


def _read(file: Path) -> Table:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageProblem(f"{file}: cannot be read: {problem}") from None
    except tomllib.TOMLDecodeError as problem:
        raise UsageProblem(f"{file}: is not TOML: {problem}") from None


def _read_with_bases(file: Path, above: tuple[Path, ...] = ()) -> tuple[list[Path], Table]:
    """The files that make up a profile, itself last, and their content."""
    if file in above:
        chain = " -> ".join(path.name for path in (*above, file))
        raise UsageProblem(f"{file}: extends itself: {chain}")
    table = _read(file)
    bases = table.pop("extends", [])
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise UsageProblem(f"{file}: extends: needs a list of file names, not {bases!r}")
    merged: Table = {}
    sources: list[Path] = []
    for base in bases:
        path = (file.parent / base).resolve()
        if not path.is_file():
            raise UsageProblem(f"{file}: extends {base!r}, but there is no file {path}")
        below, content = _read_with_bases(path, (*above, file))
        sources += below
        merged = _merge(merged, content)
    return [*sources, file], _merge(merged, table)


def _is_named_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(it, dict) and "name" in it for it in value)


def _merge(base: Table, change: Table) -> Table:
    result = dict(base)
    for key, value in change.items():
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            result[key] = _merge(before, value)
        elif before and _is_named_list(before) and value and _is_named_list(value):
            by_name = {entry["name"]: entry for entry in before}
            for entry in value:
                by_name[entry["name"]] = _merge(by_name.get(entry["name"], {}), entry)
            result[key] = list(by_name.values())
        else:
            result[key] = value
    return result


def _validate(defined_in: Path, sources: list[Path], table: Table) -> ModelProfile:
    to_blame = sources[-1]
    for key in ("path", "sources"):
        if key in table:
            raise UsageProblem(
                f"{to_blame}: {key}: unknown key{_PATH_HINT if key == 'path' else ''}"
            )
    try:
        return ModelProfile.model_validate({**table, "path": defined_in, "sources": tuple(sources)})
    except ValidationError as problem:
        lines = [_explain(to_blame, error) for error in problem.errors()]
        raise UsageProblem("\n".join(lines)) from None


def _explain(file: Path, error: Mapping[str, Any]) -> str:
    location = [part for part in error["loc"] if part not in _UNION_NOISE]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    key = key.lstrip(".") or "(profile)"
    kind = error["type"]
    if kind == "extra_forbidden":
        valid = _fields_at(ModelProfile, location[:-1])
        hint = nearest(str(location[-1]), valid)
        return f"{file}: {key}: unknown key{hint or '; valid: ' + ', '.join(sorted(valid))}"
    if kind == "missing":
        return f"{file}: {key}: is missing"
    message = error["msg"].removeprefix("Value error, ")
    seen = error.get("input")
    shown = "" if isinstance(seen, dict) else f" (seen: {seen!r})"
    return f"{file}: {key}: {message}{shown}"


_PATH_HINT = "; weights.path is meant?"

# Pydantic adds the branch of a union to the location; nobody wrote such a key.
_UNION_NOISE = {"str", "int", "float", "bool", "[key]", "constrained-str"}


def _fields_at(model: type[BaseModel], location: list[Any]) -> list[str]:
    """Names of the keys that the table at ``location`` may have."""
    for part in location:
        if isinstance(part, int) or part not in model.model_fields:
            continue
        inner = _model_in(model.model_fields[part].annotation)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
