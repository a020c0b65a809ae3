"""Without a defect everything passes; with one, what must turn red does, and nothing unknown."""

from __future__ import annotations

import pytest

from tests.defects.catalogue import DEFECTS
from tests.defects.engine import engine, engine_python
from tests.defects.matrix import first_of_each_file, judge, load_matrix, served
from tests.defects.planting import Planted
from tests.defects.running import COUNTED, catalogue
from tests.defects.trying import objections, try_defects


@pytest.mark.engine
def test_one_defect_for_each_file_of_the_suite(tmp_path):
    """One test, so that one engine serves them all on whatever worker; the rest is ``tox -e``."""
    if engine_python() is None:
        pytest.skip("no engine environment: python -m pytest_qwenvl.engines.cpu.install builds it")
    known, matrix = catalogue(), load_matrix()
    noticing = sorted(set(served(known)) - COUNTED)
    chosen = first_of_each_file(DEFECTS.values(), noticing)
    assert len(chosen) > 20
    with engine(tmp_path) as upstream:
        assert objections(upstream, Planted(), known, tmp_path / "healthy") == {}
        problems = [
            problem
            for defect, outcomes in try_defects(
                upstream, chosen, known, tmp_path, expected_only=True
            )
            for problem in judge(defect, outcomes, matrix)
        ]
    assert problems == []
