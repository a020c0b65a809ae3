"""The list of defects, what is recorded of them, and the page are in agreement; nothing is run."""

from __future__ import annotations

import pytest

from tests.defects.catalogue import DEFECTS
from tests.defects.matrix import judge, load_matrix, served
from tests.defects.page import PAGE, render
from tests.defects.running import Outcomes, catalogue


@pytest.fixture(scope="module")
def known():
    return catalogue()


def test_every_requirement_has_a_defect(known):
    noticed = frozenset().union(*(defect.ids for defect in DEFECTS.values()))
    assert [it for it in served(known) if it not in noticed] == []


def test_every_defect_names_requirements_that_there_are(known):
    ids = set(served(known))
    wrong = {it.name: it.ids - ids for it in DEFECTS.values() if not it.ids or it.ids - ids}
    assert wrong == {}


def test_every_defect_is_recorded_with_what_it_must_turn_red():
    matrix = load_matrix()
    assert list(matrix) == list(DEFECTS)
    missing = {name: DEFECTS[name].ids - red for name, red in matrix.items()}
    assert {name: ids for name, ids in missing.items() if ids} == {}


def test_the_page_is_current(known):
    assert PAGE.read_text(encoding="utf-8") == render(known, load_matrix()), (
        "docs/defects.md is out of date: python -m tests.defects.page writes it"
    )


def test_what_stays_green_and_what_is_wrongly_blamed_is_told():
    one = DEFECTS["one-id"]
    assert one.ids == {"QVL-OAI-005"}
    right = Outcomes({"QVL-OAI-005": "FAIL", "QVL-OAI-001": "PASS"}, {"QVL-OAI-005": "one id"})
    assert judge(one, right, {}) == []
    missed = judge(one, Outcomes({"QVL-OAI-005": "PASS"}), {})
    assert missed == ["one-id: QVL-OAI-005 did not turn red, seen PASS"]
    assert judge(one, Outcomes({}), {}) == ["one-id: QVL-OAI-005 did not turn red, seen no result"]
    both = Outcomes(
        {"QVL-OAI-005": "FAIL", "QVL-OAI-001": "FAIL"},
        {"QVL-OAI-005": "one id", "QVL-OAI-001": "a field"},
    )
    assert len(judge(one, both, {})) == 1
    assert "QVL-OAI-001 turned red, which is not recorded" in judge(one, both, {})[0]
    assert judge(one, both, {"one-id": frozenset({"QVL-OAI-001"})}) == []
