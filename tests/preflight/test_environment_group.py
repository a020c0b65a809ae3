"""The environment group under pytest: red for a planted fault, before anything is started."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures.hosts.playing import PlayedHost
from pytest_qwenvl.catalogue import load_catalogue
from pytest_qwenvl.preflight.checks import CHECKS
from tests.engines.support import PATIENCE
from tests.preflight.planted import SUITE, shard, write_checkpoint
from tests.stand_in_engine.install import (
    CHECKOUT,
    clean_environment,
    stand_in_python,
    write_profile,
)

DECIDED = "weights or disk or settings"  # what the stand-in engine's host can decide


class Run:
    """pytest on the environment group, with the stand-in engine and one checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / "weights"
        write_checkpoint(self.weights)
        write_profile(folder / "profiles", "planted", self.weights)
        (folder / "tmp").mkdir()

    def __call__(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        own = {"TMPDIR": str(self.folder / "tmp"), **environment}
        return subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "conformance/test_environment.py"),
                *("-p", "no:cacheprovider", "-p", "no:xdist", "--model=planted"),
                f"--profiles={self.folder / 'profiles'}",
                f"--engine-python={stand_in_python(self.folder / 'bin')}",
                *(f"--conformance-report={self.folder / 'report'}", *options),
            ],
            cwd=CHECKOUT,
            env=clean_environment(self.folder, own),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def results(self) -> dict[str, dict[str, Any]]:
        report = json.loads((self.folder / "report" / "report.json").read_text())
        assert report["engines"] == []
        return {it["requirement"]: it for it in report["results"]}

    def outcomes(self) -> dict[str, str]:
        return {name: it["outcome"] for name, it in self.results().items()}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_green_on_a_healthy_host(run):
    done = run("--backend=cpu", "-k", DECIDED)
    assert done.returncode == 0, done.stdout
    assert run.outcomes() == dict.fromkeys(("QVL-ENV-010", "QVL-ENV-011", "QVL-ENV-015"), "PASS")
    assert "CONFORMANT within" in done.stdout


def test_red_for_a_shard_that_was_cut_short(run):
    path = shard(run.weights)
    path.write_bytes(path.read_bytes()[:-1])
    done = run("--backend=cpu", "-k", DECIDED)
    assert done.returncode == 1
    assert run.outcomes()["QVL-ENV-010"] == "FAIL"
    assert "NON-CONFORMANT" in done.stdout
    reason = run.results()["QVL-ENV-010"]["reason"]
    assert reason.startswith(f"seen {path} has ")
    assert "as its own header says; copy the checkpoint again" in reason


def test_red_for_a_variable_of_another_version(run):
    done = run("--backend=cpu", "-k", DECIDED, VLLM_USE_V1="1")
    assert done.returncode == 1
    assert run.outcomes()["QVL-ENV-015"] == "FAIL"


def test_a_host_that_cannot_be_judged_is_partial(run):
    # The stand-in's distribution does not say which packages it needs.
    done = run("--backend=cpu", "-k", "packages_are")
    assert run.outcomes() == {"QVL-ENV-003": "INCONCLUSIVE"}
    assert "PARTIAL" in done.stdout


DISTRIBUTIONS = {
    "vllm": "0.23.0",
    "vllm-ascend": "0.23.0",
    "torch": "2.10.0",
    "torch-npu": "2.10.0.post4",
    "transformers": "5.5.4",
}


def ascend_python(folder: Path, **other: str) -> Path:
    """An interpreter with the distributions of an A3 host, some in another version."""
    packages = folder / "packages"
    for name, version in {**DISTRIBUTIONS, **other}.items():
        place = packages / f"{name.replace('-', '_')}-{version}.dist-info"
        place.mkdir(parents=True)
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (place / "METADATA").write_text(text + "Requires-Dist: transformers==5.5.4\n")
    for name, text in (
        ("vllm/config/cache.py", "    gpu_memory_utilization: float = Field(default=0.92)\n"),
        ("vllm_ascend/_build_info.py", "__device_type__ = 'A3'\n"),
    ):
        (packages / name).parent.mkdir(parents=True)
        (packages / name).write_text(text)
        (packages / name.split("/")[0] / "__init__.py").touch()
    python = folder / "ascend-python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python


OF_NPUS = "pair or packages or chip or memory_of_npus or healthy"


@pytest.mark.parametrize(
    ("other", "failing"),
    [
        ({}, set()),
        ({"transformers": "5.14.1"}, {"QVL-ENV-003"}),
        ({"vllm": "0.24.0"}, {"QVL-ENV-002"}),
    ],
)
def test_a_played_host_with_npus(run, tmp_path, other, failing):
    played = PlayedHost("a3-16x910c", tmp_path / "host")
    played.inject(health={3: "Warning"})
    python = ascend_python(tmp_path, **other)
    done = run("--backend=npu", f"--engine-python={python}", "-k", OF_NPUS, **played.environment)
    assert done.returncode == 1, done.stdout
    found = run.outcomes()
    # A sick NPU is reported, and does not lower the verdict: the requirement is extended.
    failed = {name for name, outcome in found.items() if outcome == "FAIL"}
    assert failed == {"QVL-ENV-013", *failing}
    assert "NPU 3 (card 1) is Warning" in run.results()["QVL-ENV-013"]["reason"]
    passed = {name for name, outcome in found.items() if outcome == "PASS"}
    assert failed | passed == {f"QVL-ENV-{number:03}" for number in (2, 3, 6, 12, 13)}
    assert ("NON-CONFORMANT within" in done.stdout) is bool(failing)


@pytest.mark.parametrize("backend", ["cpu", "npu"])
def test_what_has_no_meaning_on_a_backend_is_not_claimed(run, backend, tmp_path):
    played = PlayedHost("a2-8x910b3", tmp_path / "host")
    done = run(f"--backend={backend}", "--collect-only", "-q", **played.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    collected = [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]
    catalogue = load_catalogue(SUITE / "requirements.toml")
    wanted = [it.id for it in catalogue if it.group == "environment" and backend in it.applies_to]
    assert len({name.partition("[")[0] for name in collected}) == len(wanted)
    assert any(name.startswith("test_driver") for name in collected) is (backend == "npu")


def test_every_requirement_of_the_group_has_a_check():
    catalogue = load_catalogue(SUITE / "requirements.toml")
    assert set(CHECKS) == {it.id for it in catalogue if it.group == "environment"}
