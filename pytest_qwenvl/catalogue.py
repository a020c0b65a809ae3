"""The catalogue of requirements: read strictly, checked against the tests, printed for people.

One entry is one MUST sentence with an id that never changes its meaning. The catalogue is the
expectation and the tests are checked against it, not the other way round: an entry without a
test is a promise that nobody keeps, a test without an entry judges nothing.
"""

from __future__ import annotations

import ast
import difflib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.results import Requirement
from pytest_qwenvl.report.table import GROUPS

# A vendor's catalogue has a prefix of its own.
_ID = re.compile(r"[A-Z][A-Z0-9]*-[A-Z]+-\d{3}")
_MUST = re.compile(r"\bMUST\b")
_TOP_KEYS = ("version", "requirement")
_REQUIRED_KEYS = ("id", "group", "level", "since", "must", "rationale", "source")
_KEYS = (*_REQUIRED_KEYS, "test", "per", "applies_to", "judge")
_LEVELS = ("core", "extended")
_PER = ("deployment", "model")
_BACKENDS = ("npu", "cpu")
JUDGE_NAMES = (
    "score",
    "answers",
    "baseline",
    "served-score",
    "served-answers",
    "served-baseline",
    "load",
    "budgets",
    "soak-memory",
    "soak-device-memory",
    "soak-descriptors",
    "soak-requests",
    "soak-answers",
    "soak-latency",
    "soak-survival",
    "latency-baseline",
)
"""What ``report.judges`` can decide from a measurement, without running anything."""
COMPARING = frozenset({"baseline", "served-baseline", "latency-baseline"})
"""Those of them that take an earlier measurement too."""


@dataclass(frozen=True)
class Catalogue:
    """Every requirement of one version of the suite, in the order of the file.

    Attributes:
        tests: the test that an entry names itself, by requirement id; most name none.
    """

    version: str
    requirements: tuple[Requirement, ...]
    tests: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, requirement_id: str) -> Requirement:
        for requirement in self.requirements:
            if requirement.id == requirement_id:
                return requirement
        raise KeyError(requirement_id)

    def __contains__(self, requirement_id: object) -> bool:
        return any(requirement.id == requirement_id for requirement in self.requirements)

    def __iter__(self) -> Iterator[Requirement]:
        return iter(self.requirements)

    def __len__(self) -> int:
        return len(self.requirements)

    @property
    def groups(self) -> dict[str, str]:
        """The group of each requirement id."""
        return {requirement.id: requirement.group for requirement in self.requirements}

    def nearest(self, requirement_id: str) -> str:
        """The known id most like ``requirement_id``; empty when none is."""
        return _nearest(requirement_id, [requirement.id for requirement in self.requirements])


def load_catalogue(path: Path) -> Catalogue:
    """Read ``conformance/requirements.toml``.

    Raises:
        UsageProblem: it is missing, no TOML, or breaks the schema; the message names the file,
            the entry, the key, and the nearest valid one for a misspelt key.
    """
    data = _read_toml(path)
    _check_keys(f"{path}", data, _TOP_KEYS, _TOP_KEYS)
    version = data["version"]
    if not isinstance(version, str) or not version.strip():
        raise UsageProblem(f"{path}: version: needs a text such as '1.0', has {version!r}")
    entries = data["requirement"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageProblem(f"{path}: requirement: needs tables, each begun with [[requirement]]")
    requirements: dict[str, Requirement] = {}
    tests: dict[str, str] = {}
    for number, entry in enumerate(entries, start=1):
        requirement = _requirement(path, number, entry)
        if requirement.id in requirements:
            raise UsageProblem(
                f"{path}: requirement {number}: id: {requirement.id} is taken by an earlier "
                "entry; ids are never used twice"
            )
        requirements[requirement.id] = requirement
        if "test" in entry:
            tests[requirement.id] = entry["test"]
    return Catalogue(version, tuple(requirements.values()), tests)


def check_against_tests(catalogue: Catalogue, tests: Mapping[str, Sequence[str]]) -> list[str]:
    """What does not fit between the catalogue and the tests; empty when all is well.

    Args:
        tests: requirement id -> names of the tests that decide it, parameters left out.
    """
    problems: list[str] = []
    for requirement in catalogue:
        names = sorted(set(tests.get(requirement.id, ())))
        named = catalogue.tests.get(requirement.id)
        if not names:
            problems.append(f"{requirement.id}: no test decides it ({requirement.must})")
        elif len(names) > 1:
            problems.append(
                f"{requirement.id}: decided by {len(names)} tests, needs exactly one: "
                + ", ".join(names)
            )
        elif named is not None and not names[0].endswith(named):
            problems.append(f"{requirement.id}: names the test {named}, decided by {names[0]}")
    for requirement_id in sorted(set(tests) - set(catalogue.groups)):
        nearest = catalogue.nearest(requirement_id)
        hint = f"; did you mean {nearest}?" if nearest else ""
        problems.append(
            f"{', '.join(sorted(set(tests[requirement_id])))}: decides {requirement_id}, which "
            f"the catalogue does not have{hint}"
        )
    return problems


def find_tests(directory: Path) -> dict[str, list[str]]:
    """Requirement id -> tests marked ``@pytest.mark.requirement(ID)`` in a folder's files.

    Read from the source: neither pytest nor an engine is needed to check the catalogue. Names
    are ``FILE::test``, the file relative to ``directory``'s parent.

    Raises:
        UsageProblem: a file that is no Python, or a marker whose id is not written out.
    """
    found: dict[str, list[str]] = {}
    for path in sorted([*directory.rglob("test_*.py"), *directory.rglob("*_test.py")]):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        except (SyntaxError, ValueError) as error:
            raise UsageProblem(f"{path}: cannot be read as Python: {error}") from error
        name = path.relative_to(directory.parent).as_posix()
        for requirement_id, test in _marked(path, tree.body, name):
            found.setdefault(requirement_id, []).append(test)
    return found


def render_markdown(catalogue: Catalogue, tests: Mapping[str, Sequence[str]]) -> str:
    """``docs/requirements.md``: every requirement by group, with why, whence, and its test."""
    core = sum(requirement.level == "core" for requirement in catalogue)
    lines = [
        "# Requirements",
        "",
        "<!-- Written by `pytest-qwenvl requirements`; edit conformance/requirements.toml. -->",
        "",
        f"Catalogue version {catalogue.version}: {len(catalogue)} requirements, {core} of them "
        "core. A model is CONFORMANT only when every core requirement passed on every "
        "deployment it applies to; extended ones are reported and never lower a verdict.",
    ]
    groups = dict.fromkeys(requirement.group for requirement in catalogue)
    ordered = [g for g in GROUPS if g in groups] + [g for g in groups if g not in GROUPS]
    for group in ordered:
        lines += ["", f"## {group}"]
        for requirement in catalogue:
            if requirement.group == group:
                names = sorted(set(tests.get(requirement.id, ())))
                lines += [
                    "",
                    f"### {requirement.id}",
                    "",
                    f"**{_one_line(requirement.must)}**",
                    "",
                    f"- level: {requirement.level}, since {requirement.since}{_scope(requirement)}",
                    f"- why: {_one_line(requirement.rationale)}",
                    f"- source: {_one_line(requirement.source)}",
                    "- test: " + (", ".join(f"`{name}`" for name in names) or "none yet"),
                ]
    return "\n".join(lines) + "\n"


def _read_toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UsageProblem(f"{path}: no such file; the suite keeps its requirements there") from (
            error
        )
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageProblem(f"{path}: no TOML: {error}") from error


def _requirement(path: Path, number: int, entry: dict[str, Any]) -> Requirement:
    where = f"{path}: requirement {number}"
    if isinstance(entry.get("id"), str):
        where += f" ({entry['id']})"
    _check_keys(where, entry, _KEYS, _REQUIRED_KEYS)
    applies_to = entry.get("applies_to", list(_BACKENDS))
    if not isinstance(applies_to, list) or not applies_to or set(applies_to) - set(_BACKENDS):
        raise UsageProblem(
            f"{where}: applies_to: needs a list of {' and '.join(_BACKENDS)}, has {applies_to!r}"
        )
    for key, value in entry.items():
        if key == "applies_to":
            continue
        if not isinstance(value, str) or not value.strip():
            raise UsageProblem(f"{where}: {key}: needs text, has {value!r}")
    if not _ID.fullmatch(entry["id"]):
        raise UsageProblem(f"{where}: id: {entry['id']!r} is not of the form QVL-GROUP-001")
    if entry["level"] not in _LEVELS:
        raise UsageProblem(
            f"{where}: level: {entry['level']!r} is neither of {' and '.join(_LEVELS)}"
        )
    if not _MUST.search(entry["must"]):
        raise UsageProblem(f"{where}: must: the sentence has no MUST: {entry['must']!r}")
    per = entry.get("per", "deployment")
    if per not in _PER:
        raise UsageProblem(f"{where}: per: {per!r} is neither of {' and '.join(_PER)}")
    if (judge := entry.get("judge", "")) and judge not in JUDGE_NAMES:
        raise UsageProblem(f"{where}: judge: {judge!r} is none of {', '.join(JUDGE_NAMES)}")
    return Requirement(
        **{key: entry[key] for key in _REQUIRED_KEYS},
        per=per,
        applies_to=tuple(applies_to),
        judge=judge,
    )


def _check_keys(
    where: str, table: Mapping[str, Any], known: Sequence[str], required: Sequence[str]
) -> None:
    for key in table:
        if key not in known:
            nearest = _nearest(key, known)
            hint = f"did you mean {nearest}?" if nearest else f"known: {', '.join(known)}"
            raise UsageProblem(f"{where}: unknown key {key!r}; {hint}")
    if missing := [key for key in required if key not in table]:
        raise UsageProblem(f"{where}: lacks {', '.join(missing)}")


def _nearest(word: str, known: Sequence[str]) -> str:
    return next(iter(difflib.get_close_matches(word, known, n=1)), "")


def _marked(path: Path, body: Sequence[ast.stmt], name: str) -> Iterator[tuple[str, str]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _marked(path, node.body, f"{name}::{node.name}")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if _is_requirement(decorator):
                    yield _marker_id(path, decorator), f"{name}::{node.name}"


def _is_requirement(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(target).endswith("mark.requirement")


def _marker_id(path: Path, decorator: ast.expr) -> str:
    if isinstance(decorator, ast.Call) and len(decorator.args) == 1:
        argument = decorator.args[0]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return argument.value
    raise UsageProblem(
        f"{path}:{decorator.lineno}: {ast.unparse(decorator)}: write the one id out, such as "
        "@pytest.mark.requirement('QVL-SRV-001'), so that it can be found"
    )


def _scope(requirement: Requirement) -> str:
    text = ", decided once a model" if requirement.per == "model" else ""
    if set(requirement.applies_to) != set(_BACKENDS):
        text += f", on the {' and '.join(requirement.applies_to)} backend"
    return text


def _one_line(text: str) -> str:
    return " ".join(text.split())
