"""What was seen of each defect, kept beside the code, and the judgement of a new run by it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from pytest_qwenvl.catalogue import Catalogue, find_tests
from tests.conformance.test_defects import DECIDED as DECIDED_BY_LAUNCHES
from tests.defects.catalogue import DEFECTS, Defect
from tests.defects.running import COUNTED, SUITE, Outcomes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("matrix.toml")
HEAD = """\
# Which requirements turned red under each defect, without QVL-. Written by
# `python -m tests.defects --record`; a run in which another one turns red is a wrong blame, until
# somebody has looked and recorded it here.
"""
# Groups that a proxy cannot show anything of: hosts, offline engines, measuring programs.
ELSEWHERE = frozenset({"environment", "offline", "accuracy", "latency", "soak"})

Matrix = Mapping[str, frozenset[str]]


def load_matrix(path: Path = FILE) -> Matrix:
    """The recorded requirements by defect."""
    recorded = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: frozenset(f"QVL-{it}" for it in red) for name, red in recorded.items()}


def write_matrix(matrix: Matrix, path: Path = FILE) -> None:
    """Write the recorded requirements, in the order of the list of defects."""
    lines = [
        f"{name} = [{', '.join(chr(34) + it[4:] + chr(34) for it in sorted(matrix[name]))}]"
        for name in DEFECTS
        if name in matrix
    ]
    path.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def served(catalogue: Catalogue) -> list[str]:
    """Ids of the requirements that something over HTTP decides."""
    return [
        it.id for it in catalogue if it.group not in ELSEWHERE and it.id not in DECIDED_BY_LAUNCHES
    ]


def neighbours(defect: Defect, catalogue: Catalogue) -> frozenset[str]:
    """The expected requirements of a defect, and those whose tests stand in the same files.

    What is counted over all clients of the engine is left out, unless it is expected: it is
    decided by nobody while two runs share an engine.
    """
    tests = find_tests(SUITE)
    its = {test.partition("::")[0] for it in defect.ids for test in tests[it]}
    near = {it for it in served(catalogue) if tests[it][0].partition("::")[0] in its}
    return frozenset((near - COUNTED) | defect.ids)


def judge(defect: Defect, outcomes: Outcomes, matrix: Matrix) -> list[str]:
    """What is wrong with what a run saw of a defect; nothing where all is as it should be."""
    missed = sorted(defect.ids - outcomes.red)
    blamed = sorted(outcomes.red - defect.ids - matrix.get(defect.name, frozenset()))
    problems = [
        f"{defect.name}: {it} did not turn red, seen {_seen(outcomes, it)}" for it in missed
    ]
    problems += [
        f"{defect.name}: {it} turned red, which is not recorded of it: {outcomes.reasons[it][:200]}"
        for it in blamed
    ]
    return problems


def _seen(outcomes: Outcomes, requirement: str) -> str:
    return outcomes.by_requirement.get(requirement, "no result")


def first_of_each_file(defects: Iterable[Defect], known: Collection[str]) -> list[Defect]:
    """For each file of the suite, the first defect that one of its requirements must notice.

    Args:
        known: ids of the requirements to notice something; others are left aside.
    """
    tests = find_tests(SUITE)
    chosen: list[Defect] = []
    files: set[str] = set()
    for defect in defects:
        its = {test.partition("::")[0] for it in defect.ids if it in known for test in tests[it]}
        if its - files:
            chosen.append(defect)
            files |= its
    return chosen
