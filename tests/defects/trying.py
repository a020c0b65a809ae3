"""Trying many defects on one engine, two runs at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pytest_qwenvl.catalogue import Catalogue
from tests.defects.catalogue import Defect
from tests.defects.matrix import neighbours, served
from tests.defects.planting import Planted
from tests.defects.running import COUNTED, Outcomes, run_suite

TOGETHER = 2


def try_defects(
    upstream: str,
    defects: Iterable[Defect],
    known: Catalogue,
    folder: Path,
    *,
    expected_only: bool = False,
) -> Iterator[tuple[Defect, Outcomes]]:
    """What each defect turned red, as it comes.

    Those that the engine's counters must show are tried last, each alone, since these count the
    requests of every client.

    Args:
        expected_only: leave out the neighbours of the requirements that must turn red.
    """
    several, alone = [], []
    for defect in defects:
        (alone if defect.ids & COUNTED else several).append(defect)

    def run(defect: Defect) -> Outcomes:
        its = defect.ids if expected_only else neighbours(defect, known)
        return run_suite(upstream, defect.plant(), its, folder / defect.name)

    with ThreadPoolExecutor(TOGETHER) as pool:
        yield from zip(several, pool.map(run, several), strict=True)
    for defect in alone:
        yield defect, run(defect)


def objections(upstream: str, planted: Planted, known: Catalogue, folder: Path) -> dict[str, str]:
    """What does not pass of all that HTTP decides, through a proxy that does no harm."""
    seen = run_suite(upstream, planted, served(known), folder)
    outcomes = {it: seen.by_requirement.get(it, "no result") for it in served(known)}
    return {
        it: f"{outcome} {seen.reasons.get(it, '')}"
        for it, outcome in outcomes.items()
        if outcome != "PASS"
    }
