"""Doctor finds what is planted, and nothing else; on a healthy host it finds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_qwenvl.catalogue import load_catalogue
from pytest_qwenvl.preflight.examination import CheckOutcome, examine_all
from pytest_qwenvl.preflight.table import load_table
from tests.preflight.faults import FAULTS, contained
from tests.preflight.planted import SUITE, PlantedHost

KINDS = ("a2", "a3", "310p", "a5", "cpu")


def examine(planted: PlantedHost, *, digests: bool = False) -> list[CheckOutcome]:
    table = load_table(SUITE / "compatibility.toml")
    catalogue = load_catalogue(SUITE / "requirements.toml")
    return examine_all(planted.host(), table, catalogue, planted.deployments(), digests=digests)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_on_a_healthy_host(kind: str, tmp_path: Path) -> None:
    outcomes = examine(PlantedHost(kind, tmp_path))
    assert {it.requirement: (it.seen, it.findings) for it in outcomes if it.state != "ok"} == {}
    # Not because nothing was looked at.
    assert len(outcomes) == (6 if kind == "cpu" else 15)
    assert all(it.seen for it in outcomes)


def test_nothing_on_a_healthy_host_with_engines_in_an_image(tmp_path: Path) -> None:
    planted = PlantedHost("a3", tmp_path)
    contained(planted, "9.1.0")
    outcomes = examine(planted)
    assert {it.requirement for it in outcomes if it.state != "ok"} == {"QVL-ENV-014"}
    assert not any(it.findings for it in outcomes)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_nothing_else(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    planted = PlantedHost(fault.kind, tmp_path)
    fault.plant(planted)
    outcomes = examine(planted)
    found = {it.requirement: it.findings for it in outcomes if it.findings}
    assert {requirement: len(findings) for requirement, findings in found.items()} == dict.fromkeys(
        fault.found, 1
    ), found
    for requirement, words in fault.found.items():
        ((finding, _),) = found[requirement]
        assert finding.requirement == requirement
        assert words in finding.seen
        assert finding.expected
        assert finding.remedy
    assert {it.requirement for it in outcomes if it.state == "undecided"} == fault.undecided
