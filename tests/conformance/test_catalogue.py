from __future__ import annotations

from pathlib import Path

from pytest_qwenvl.catalogue import check_against_tests, find_tests, load_catalogue

SUITE = Path(__file__).parents[2] / "conformance"


def test_each_requirement_has_one_test_and_each_test_a_requirement():
    catalogue = load_catalogue(SUITE / "requirements.toml")
    assert check_against_tests(catalogue, find_tests(SUITE)) == []
