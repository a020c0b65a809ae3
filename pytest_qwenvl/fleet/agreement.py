"""Do the hosts of a fleet have what one verdict needs: the same of everything that judges (pure).

Nothing is placed before they do. Weights may be missing on some hosts, which then do not get the
model; those that have them must have the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.fleet.facts import Facts

HEAD = "head"
_SHOWN = 19  # characters of a digest, its "sha256:" included

_SAME: tuple[tuple[str, Callable[[Facts], str], str], ...] = (
    ("Python", lambda its: ".".join(its.python.split(".")[:2]), "run one version on every host"),
    ("Ray", lambda its: its.ray, "pip install the head's on every host"),
    ("pytest-qwenvl", lambda its: its.pytest_qwenvl, "pip install the head's on every host"),
    (
        "suite",
        lambda its: its.suite_digest[:12],
        "check out the same suite at the same path on every host",
    ),
)


def check_agreement(
    head: Facts, hosts: Mapping[str, Facts | str], models: Collection[str]
) -> list[str]:
    """The table of what the hosts have, once nothing in it stands in the way.

    Args:
        head: of this process's own host.
        hosts: by name; text for one that could not be asked, with the reason.
        models: those that the fleet may run.

    Raises:
        UsageProblem: hosts that differ in what must be equal, that cannot be asked, that have no
            engine, or different weights of a model; with the whole table.
    """
    problems = []
    known = {name: its for name, its in hosts.items() if isinstance(its, Facts)}
    problems += [
        f"{name}: cannot be asked: {its}" for name, its in hosts.items() if name not in known
    ]
    for what, fact, remedy in _SAME:
        own = fact(head)
        for name, its in known.items():
            if fact(its) != own:
                seen = fact(its) or "none"
                problems.append(f"{name}: {what} {seen}, the head has {own or 'none'}; {remedy}")
    for name, its in known.items():
        if its.engine_problem:
            problems.append(f"{name}: {its.engine_problem}")
    problems += _engines({name: its for name, its in known.items() if its.engine})
    for model in models:
        problems += _weights(model, known)
    lines = table(head, hosts, models)
    if problems:
        raise UsageProblem(
            "the hosts of this fleet cannot share a verdict:\n"
            + "\n".join([*(f"  {problem}" for problem in problems), "what they have:", *lines])
        )
    return lines


def table(head: Facts, hosts: Mapping[str, Facts | str], models: Collection[str]) -> list[str]:
    """A line a host: versions, the suite, its devices, and the weights of each model."""
    rows = [["host", "Python", "Ray", "suite", "files", "engine", "hardware", *models]]
    for name, its in [(HEAD, head), *hosts.items()]:
        if isinstance(its, str):
            rows.append([name, "?"])
            continue
        engine = " ".join(f"{its_name} {version}" for its_name, version in its.engine.items()
                          if its_name in ("vllm", "vllm-ascend", "image"))  # fmt: skip
        row = [name, its.python, its.ray, its.pytest_qwenvl, its.suite_digest[:12], engine]
        row += [its.hardware, *(_shown(its, model) for model in models)]
        rows.append([cell or "-" for cell in row])
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]


def _shown(its: Facts, model: str) -> str:
    return its.weights.get(model, "")[:_SHOWN] or ("missing" if model in its.missing else "")


def _engines(hosts: Mapping[str, Facts]) -> list[str]:
    """Where the versions of engines differ from those that most hosts have."""
    if not hosts:
        return []
    usual, _ = Counter(tuple(sorted(its.engine.items())) for its in hosts.values()).most_common(1)[
        0
    ]
    problems = []
    for name, its in hosts.items():
        differing = sorted(set(its.engine.items()) ^ set(usual))
        if differing:
            names = sorted({what for what, _ in differing})
            seen = ", ".join(f"{what} {its.engine.get(what, 'none')}" for what in names)
            other = ", ".join(f"{what} {dict(usual).get(what, 'none')}" for what in names)
            problems.append(f"{name}: {seen}, other hosts have {other}; install one of them")
    return problems


def _weights(model: str, hosts: Mapping[str, Facts]) -> list[str]:
    by_digest: dict[str, list[str]] = {}
    for name, its in hosts.items():
        if model in its.weights:
            by_digest.setdefault(its.weights[model], []).append(name)
    if len(by_digest) < 2:
        return []
    parts = [f"{digest[:_SHOWN]} on {', '.join(names)}" for digest, names in by_digest.items()]
    return [f"{model}: different weights: {'; '.join(parts)}; copy one of them to all"]
