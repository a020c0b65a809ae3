from __future__ import annotations

from pathlib import Path

from pytest_qwenvl.catalogue import check_against_tests, find_tests, load_catalogue
from tests.conformance.test_defects import EXPECTED

SUITE = Path(__file__).parents[2] / "conformance"
# Decided by measuring programs and offline engines, which have defects of their own.
WITHOUT_PLANTED_DEFECT = {"environment", "offline", "accuracy", "latency"}


def test_each_requirement_has_one_test_and_each_test_a_requirement():
    catalogue = load_catalogue(SUITE / "requirements.toml")
    assert check_against_tests(catalogue, find_tests(SUITE)) == []


def test_each_requirement_of_a_server_turns_red_for_some_defect():
    catalogue = load_catalogue(SUITE / "requirements.toml")
    red = set().union(*EXPECTED.values())
    never = [
        requirement.id
        for requirement in catalogue
        if requirement.group not in WITHOUT_PLANTED_DEFECT and requirement.id not in red
    ]
    assert never == []
