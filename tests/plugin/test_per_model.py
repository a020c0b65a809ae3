"""Requirements that are decided once a model: by the smallest deployment a run selects."""

from __future__ import annotations

import json
import os

import pytest

SERVE_TWICE = """
[[deployments]]
name = "serve-2npu"
mode = "serve"
npus = 2
images = 3
"""


@pytest.fixture
def two_deployments(suite):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two virtual devices need two cores")
    path = suite.profile("alpha")
    path.write_text(path.read_text() + SERVE_TWICE)
    catalogue = suite.suite / "requirements.toml"
    text = catalogue.read_text()
    assert text.count('id = "QVL-SRV-002"') == 1
    catalogue.write_text(text.replace('id = "QVL-SRV-002"', 'per = "model"\nid = "QVL-SRV-002"'))
    return suite


def _decided(suite, *arguments: str) -> dict[str, list[str]]:
    done = suite.run("-m", "serve", f"--conformance-report={suite.report}", *arguments)
    assert done.code == 0, done.all
    found: dict[str, list[str]] = {}
    for result in json.loads((suite.report / "report.json").read_text())["results"]:
        found.setdefault(result["requirement"], []).append(result["deployment"])
    return found


def test_the_smallest_deployment_decides(two_deployments):
    found = _decided(two_deployments)
    served = [name for name in found["QVL-SRV-001"] if name != "serve-2npu"]
    assert len(served) == 1, found
    assert sorted(found["QVL-SRV-001"]) == sorted([*served, "serve-2npu"])
    assert set(found["QVL-SRV-002"]) == set(served), found


def test_the_one_that_is_selected_decides(two_deployments):
    found = _decided(two_deployments, "-k", "serve-2npu")
    assert set(found["QVL-SRV-002"]) == {"serve-2npu"}, found


def test_a_word_that_is_neither(two_deployments):
    catalogue = two_deployments.suite / "requirements.toml"
    catalogue.write_text(catalogue.read_text().replace('per = "model"', 'per = "host"'))
    two_deployments.run().assert_usage_error("per: 'host' is neither of deployment and model")


def test_parts_of_a_run_are_the_whole_run_and_no_more(two_deployments):
    whole = _decided(two_deployments)
    small, large = (
        _decided(two_deployments, f"--deployment=alpha/{name}")
        for name in ("serve-1npu", "serve-2npu")
    )
    assert set(small["QVL-SRV-002"]) == {"serve-1npu"}
    # What the smaller one decides for the model is not decided again.
    assert large == {"QVL-SRV-001": ["serve-2npu"]}
    report = two_deployments.read_report()
    assert report["scope"] == "--deployment=alpha/serve-2npu -m serve"
    assert report["planned"] == ["alpha/serve-2npu QVL-SRV-001"]
    # The other is another's, not left out.
    assert report["not_run"] == [] and report["verdict"] == "CONFORMANT"
    both = {name: [*small.get(name, []), *large.get(name, [])] for name in whole}
    assert {name: sorted(its) for name, its in both.items()} == {
        name: sorted(its) for name, its in whole.items()
    }


def test_a_part_that_there_is_not(two_deployments):
    done = two_deployments.run("--deployment=alpha/serve-3npu")
    done.assert_usage_error("--deployment alpha/serve-3npu: no such deployment")
    done = two_deployments.run("--deployment=alpha")
    done.assert_usage_error("--deployment alpha: needs MODEL/DEPLOYMENT")


def test_hardware_that_a_deployment_is_not_for(two_deployments):
    path = two_deployments.profiles / "alpha.toml"
    path.write_text(path.read_text() + 'hardware = ["a3"]\n')
    done = two_deployments.run("-m", "serve", f"--conformance-report={two_deployments.report}")
    assert done.code == 0, done.all
    report = two_deployments.read_report()
    assert report["verdict"] == "PARTIAL"
    (left_out,) = report["not_run"]
    assert left_out["deployment"] == "serve-2npu"
    assert left_out["reason"] == "is for a3; this host has cpu"
