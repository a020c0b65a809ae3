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
    upstream: str, defects: Iterable[Defect], known: Catalogue, folder: Path
) -> Iterator[tuple[Defect, Outcomes]]:
    """What each defect turned red, as it comes.

    Those that the engine's counters must show are tried last, each alone, since these count the
    requests of every client.
    """
    several, alone = [], []
    for defect in defects:
        (alone if defect.ids & COUNTED else several).append(defect)

    def run(defect: Defect) -> Outcomes:
        return run_suite(upstream, defect.plant(), neighbours(defect, known), folder / defect.name)

    with ThreadPoolExecutor(TOGETHER) as pool:
        yield from zip(several, pool.map(run, several), strict=True)
    for defect in alone:
        yield defect, run(defect)


def try_health(upstream: str, known: Catalogue, folder: Path) -> Outcomes:
    """What the suite says through a proxy without a defect: everything that HTTP decides."""
    return run_suite(upstream, Planted(), served(known), folder / "healthy")
