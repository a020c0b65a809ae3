"""Defects that only a launch shows: of the start, the log, the end, and of several engines.

What shows over HTTP is planted before a real engine, see ``tests/defects``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from typing import Any

import pytest

from pytest_qwenvl.catalogue import find_tests
from tests.stand_in_engine.defects import DEFECTS
from tests.stand_in_engine.install import (
    CHECKOUT,
    clean_environment,
    stand_in_python,
    write_profile,
    write_weights,
)

EXPECTED: dict[str, set[str]] = {
    "devices-differ": {"QVL-CON-004"},
    "dies-on-image": {"QVL-SRV-001"},
    "ignores-sigterm": {"QVL-SRV-017"},
    "logs-prompts": {"QVL-SEC-012"},
    # A log without a line shows nothing of what it holds back, either.
    "no-access-log": {"QVL-SRV-005", "QVL-SEC-012"},
    "no-start-up-lines": {"QVL-SRV-002"},
    "offline-differs": {"QVL-CON-001"},
    "starts-differ": {"QVL-SRV-018"},
}
DECIDED = frozenset().union(*EXPECTED.values())
# Tried where an engine's end or silence is what is tested.
ELSEWHERE = {
    *("exits-0", "exits-1", "hangs", "has-family", "in-parts"),
    *("dies-on-describe", "silent-on-describe"),
}
SERVED, TWO, OFFLINE = ("serve", 1), ("serve", 2), ("offline", 1)
DEPLOYMENTS = {
    "healthy": [OFFLINE, SERVED, TWO],
    "offline-differs": [OFFLINE, SERVED],
    "devices-differ": [SERVED, TWO],
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one run over the healthy stand-in and every defect, a model each."""
    folder = tmp_path_factory.mktemp("defects")
    weights = write_weights(folder / "weights")
    profiles = folder / "profiles"
    for name in ("healthy", *EXPECTED):
        deployments = DEPLOYMENTS.get(name, [SERVED])
        defects = [name] if name in DEFECTS else []
        write_profile(profiles, name, weights, defects=defects, deployments=deployments, items=4)
    (folder / "tmp").mkdir()
    tests = find_tests(CHECKOUT / "conformance")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n2", "--npus=2"),
            *sorted(test for it in DECIDED for test in tests[it]),
            *("-p", "no:cacheprovider", f"--basetemp={folder / 'base'}"),
            *(f"--profiles={profiles}", "--model=healthy", *(f"--model={it}" for it in EXPECTED)),
            f"--engine-python={stand_in_python(folder / 'bin')}",
            *("--backend=cpu", f"--conformance-report={folder / 'report'}"),
        ],
        cwd=CHECKOUT,
        env=clean_environment(folder, {"TMPDIR": str(folder / "tmp")}),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 1, done.stdout[-5000:] + done.stderr[-5000:]
    content: dict[str, Any] = json.loads((folder / "report" / "report.json").read_text())
    assert content["complete"]
    return content


@pytest.fixture(scope="module")
def outcomes(report: dict[str, Any]) -> dict[str, dict[str, set[str]]]:
    """Model -> outcome -> requirements."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for result in report["results"]:
        found[result["model"]][result["outcome"]].add(result["requirement"])
    return found


def test_every_defect_is_tried():
    assert set(EXPECTED) | ELSEWHERE == set(DEFECTS)


def test_healthy_passes(outcomes):
    assert outcomes["healthy"]["PASS"] == DECIDED
    assert set(outcomes["healthy"]) <= {"PASS", "SKIPPED", "UNSUPPORTED"}


@pytest.mark.parametrize("defect", EXPECTED)
def test_defect_turns_its_requirement_red(defect, outcomes):
    assert outcomes[defect]["FAIL"] == EXPECTED[defect]


def test_what_never_started_is_an_error_of_all_others(report, outcomes):
    assert set(outcomes["dies-on-image"]) <= {"FAIL", "ERROR", "SKIPPED", "UNSUPPORTED"}
    reasons = [
        result["reason"]
        for result in report["results"]
        if (result["model"], result["outcome"]) == ("dies-on-image", "FAIL")
    ]
    assert len(reasons) == 1
    assert "ended with exit code 9" in reasons[0]
    # Told once, by whichever test met it first.
    told = [it["reason"] for it in report["results"] if it["model"] == "dies-on-image"]
    assert any("stand-in engine: dying" in reason for reason in told)


def test_a_deployment_is_started_again_where_a_test_ended_it(report):
    started = Counter((it["model"], it["deployment"]) for it in report["engines"])
    # Stopped by QVL-SRV-017, started again by QVL-SRV-018, made room for the offline LLM.
    assert max(started.values()) <= 3
    assert started["healthy", "offline-1npu"] == 1


def test_a_reason_says_what_was_expected_and_seen(report):
    for result in report["results"]:
        if result["outcome"] == "FAIL" and result["model"] != "dies-on-image":
            reason = result["reason"]
            assert "expected" in reason, (result["model"], reason)


def test_the_verdict_names_its_backend(report):
    assert report["verdict"] == "NON-CONFORMANT"
    assert "no NPU was involved" in report["verdict_sentence"]
