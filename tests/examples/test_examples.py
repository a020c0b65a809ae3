"""The worked examples do what the contributor's pages say, and the pages show what is tested."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_qwenvl.cli import main
from pytest_qwenvl.profile_loading import load_profiles
from tests.plugin.suite import Suite

CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "examples"
PAGES = sorted((CHECKOUT / "docs" / "contributing").glob("*.md"))
SHOWN = re.compile(r"<!-- not run: (examples/\S+)[^>]*-->\n```\w+\n(.*?)```", re.DOTALL)


@pytest.fixture
def acme(tmp_path):
    """The vendor's folder in place of a suite's own, with the stand-in engine."""
    suite = Suite(tmp_path / "checkout")
    shutil.rmtree(suite.suite)
    shutil.copytree(EXAMPLES / "acme", suite.suite)
    suite.profile()
    suite.environment["ACME_RACK"] = "B7"
    return suite


def test_a_suite_of_ones_own(acme):
    done = acme.run("--launcher=niced", f"--conformance-report={acme.report}")
    assert done.code == 0, done.all
    run = acme.read_report()
    assert run["verdict"] == "CONFORMANT"
    found = {it["requirement"]: it["outcome"] for it in run["results"]}
    assert found == {"ACME-ENV-001": "PASS", "ACME-SRV-001": "PASS"}
    assert run["host"]["acme_rack"] == "B7"
    (extension,) = run["extensions"].values()
    assert extension == {
        "environment": ["acme_rack"],
        "settings": {"alpha/serve-1npu": ["ACME_DRIVER_MODE"]},
        "fields": {"ticket": "none", "results": 2},
    }
    (engine,) = run["engines"]
    assert engine["argv"][:2] == ["/usr/bin/nice", "-n5"]
    assert engine["environment"]["ACME_DRIVER_MODE"] == "serving"


def test_a_host_without_a_rack_is_not_conformant(acme):
    del acme.environment["ACME_RACK"]
    done = acme.run("-m", "environment", f"--conformance-report={acme.report}")
    assert done.code == 1
    (result,) = acme.read_report()["results"]
    assert result["outcome"] == "FAIL"
    assert "set ACME_RACK in the host's profile" in result["reason"]


def test_a_model_of_ones_own_and_an_overlay(capsys):
    profiles = load_profiles([CHECKOUT / "conformance" / "profiles", EXAMPLES / "profiles"])
    own, shipped = profiles["our-qwen3-vl"], profiles["qwen3-vl-tiny"]
    assert shipped.deployment("serve-1npu").start_timeout == 3600.0
    assert own.deployment("serve-1npu").start_timeout != 3600.0
    assert [it.name for it in own.deployments] == [it.name for it in shipped.deployments]
    arguments = ["our-qwen3-vl/serve-1npu", f"--profiles={EXAMPLES / 'profiles'}", "--backend=cpu"]
    assert main(["explain", *arguments]) == 0
    assert "our-qwen3-vl" in capsys.readouterr().out


@pytest.mark.engine
def test_a_model_of_ones_own_is_conformant(tmp_path):
    command = [sys.executable, "-m", "pytest", "-m", "smoke", "-p", "no:cacheprovider"]
    command += ["--profiles=examples/profiles", "--model=our-qwen3-vl", "--npus=1"]
    command += [f"--conformance-report={tmp_path}"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads((tmp_path / "report.json").read_text())
    assert "our-qwen3-vl" in {it["model"] for it in run["results"]}
    assert run["verdict"] == "CONFORMANT"


def test_there_are_pages_and_they_show_files():
    assert len(PAGES) >= 4
    assert sum(len(SHOWN.findall(page.read_text())) for page in PAGES) >= 6


@pytest.mark.parametrize("page", PAGES, ids=lambda it: it.name)
def test_a_page_shows_what_is_tested(page):
    for name, shown in SHOWN.findall(page.read_text()):
        text = (CHECKOUT / name).read_text()
        # A page is read outside of a checkout too.
        shown = shown.replace("/path/to/checkout/", "../../")
        assert shown.strip() in text, f"{page}: {name} does not hold:\n{shown}"
