"""A healthy stand-in engine is CONFORMANT; each planted defect turns the right requirements red."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from typing import Any

import pytest

from tests.stand_in_engine.defects import DEFECTS
from tests.stand_in_engine.install import (
    CHECKOUT,
    clean_environment,
    stand_in_python,
    write_profile,
    write_weights,
)

GROUPS = "serve or openai or streaming or multi_image or consistency"
EXPECTED: dict[str, set[str]] = {
    "always-length": {"QVL-SRV-004"},
    "always-stop": {"QVL-OAI-002"},
    "any-model": {"QVL-OAI-003"},
    "broken-after-refusal": {"QVL-IMG-004", "QVL-OAI-003"},
    "dies-on-image": {"QVL-SRV-001"},
    "drifts": {"QVL-CON-002"},
    "error-without-type": {"QVL-OAI-003"},
    "extra-field": {"QVL-OAI-001"},
    "health-once": {"QVL-SRV-003"},
    "ignores-earlier-turns": {"QVL-SRV-009"},
    "ignores-system": {"QVL-SRV-008"},
    "illiterate": {"QVL-SRV-004"},
    "image-dropped": {"QVL-IMG-003", "QVL-IMG-005"},
    "images-merged": {"QVL-IMG-005"},
    "images-swapped": {"QVL-IMG-003"},
    "limit-ignored": {"QVL-IMG-004"},
    "limit-in-last-turn": {"QVL-IMG-004"},
    "limit-one-more": {"QVL-IMG-004"},
    # Prompts with as many images as allowed are sent by other requirements too.
    "limit-one-less": {
        *("QVL-IMG-003", "QVL-IMG-004", "QVL-IMG-005"),
        *("QVL-STR-002", "QVL-CON-001", "QVL-CON-002"),
    },
    "max-completion-tokens-ignored": {"QVL-OAI-002"},
    "max-tokens-ignored": {"QVL-OAI-002"},
    "miscounts": {"QVL-SRV-006"},
    "model-without-owner": {"QVL-OAI-004"},
    "mute": {
        *("QVL-SRV-004", "QVL-SRV-006", "QVL-SRV-007", "QVL-SRV-008", "QVL-SRV-009"),
        *("QVL-OAI-001", "QVL-OAI-002", "QVL-OAI-003", "QVL-STR-001", "QVL-STR-002"),
        *("QVL-IMG-003", "QVL-IMG-004", "QVL-CON-001", "QVL-CON-002"),
    },
    # Questions without a picture are part of these too.
    "mute-without-image": {"QVL-SRV-007", "QVL-OAI-001", "QVL-OAI-003", "QVL-STR-002"},
    "no-access-log": {"QVL-SRV-005"},
    "no-done": {"QVL-STR-001"},
    "no-id": {"QVL-OAI-001", "QVL-SRV-004"},
    "no-refusal": {"QVL-OAI-001"},
    "no-start-up-lines": {"QVL-SRV-002"},
    "no-usage-chunk": {"QVL-STR-001", "QVL-STR-002"},
    "offline-differs": {"QVL-CON-001"},
    "one-chunk": {"QVL-STR-002"},
    "resized-otherwise": {"QVL-IMG-001", "QVL-IMG-002", "QVL-IMG-005"},
    "role-missing": {"QVL-STR-001"},
    "stream-differs": {"QVL-STR-002"},
    "text-counted-twice": {"QVL-IMG-001"},
    "wrong-max-model-len": {"QVL-SRV-003"},
    "wrong-total": {"QVL-OAI-001", "QVL-STR-001"},
}
# Tried where an engine's end or silence is what is tested.
ELSEWHERE = {
    *("exits-0", "exits-1", "hangs", "has-family"),
    *("dies-on-describe", "silent-on-describe"),
}
WITH_OFFLINE = {"healthy", "offline-differs"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one run over the healthy stand-in and every defect, a model each."""
    folder = tmp_path_factory.mktemp("defects")
    weights = write_weights(folder / "weights")
    profiles = folder / "profiles"
    for name in ("healthy", *EXPECTED):
        deployments = [("offline", 1), ("serve", 1)] if name in WITH_OFFLINE else [("serve", 1)]
        defects = [name] if name in DEFECTS else []
        # The first five which_image questions ask for a first, a middle and a last image.
        write_profile(profiles, name, weights, defects=defects, deployments=deployments, items=5)
    (folder / "tmp").mkdir()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n2", "-m", GROUPS),
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


@pytest.fixture(scope="module")
def verdicts(report: dict[str, Any]) -> dict[str, str]:
    """Model -> verdict."""
    return {entry["model"]: entry["verdict"] for entry in report["model_verdicts"]}


def test_every_defect_is_tried():
    assert set(EXPECTED) | ELSEWHERE == set(DEFECTS)


def test_healthy_is_conformant(report, outcomes, verdicts):
    catalogue = {entry["id"]: entry["group"] for entry in report["requirements"]}
    wanted = {name for name, group in catalogue.items() if group in GROUPS.split(" or ")}
    assert outcomes["healthy"] == {"PASS": wanted}
    assert verdicts["healthy"] == "CONFORMANT"


@pytest.mark.parametrize("defect", EXPECTED)
def test_defect_turns_its_requirements_red(defect, outcomes, verdicts):
    assert outcomes[defect]["FAIL"] == EXPECTED[defect]
    assert verdicts[defect] == "NON-CONFORMANT"


@pytest.mark.parametrize("defect", sorted(EXPECTED.keys() - {"dies-on-image"}))
def test_nothing_else_is_in_doubt(defect, outcomes):
    skipped = set() if defect in WITH_OFFLINE else {"QVL-CON-001"} - EXPECTED[defect]
    assert outcomes[defect].get("SKIPPED", set()) == skipped
    assert set(outcomes[defect]) <= {"PASS", "FAIL", "SKIPPED"}


def test_what_never_started_is_an_error_of_all_others(report, outcomes):
    others = outcomes["healthy"]["PASS"] - {"QVL-SRV-001"}
    assert outcomes["dies-on-image"] == {"FAIL": {"QVL-SRV-001"}, "ERROR": others}
    reasons = [
        result["reason"]
        for result in report["results"]
        if (result["model"], result["outcome"]) == ("dies-on-image", "FAIL")
    ]
    assert len(reasons) == 1
    assert "ended with exit code 9" in reasons[0]
    assert "stand-in engine: dying" in reasons[0]


def test_each_deployment_started_one_engine(report):
    started = Counter((it["model"], it["deployment"], it["kind"]) for it in report["engines"])
    assert set(started.values()) == {1}
    assert len(started) == len(EXPECTED) + 1 + len(WITH_OFFLINE)


def test_a_reason_says_what_was_expected_and_seen(report):
    for result in report["results"]:
        if result["outcome"] == "FAIL" and result["model"] != "dies-on-image":
            reason = result["reason"]
            assert "expected" in reason or "in the" in reason, (result["model"], reason)


def test_the_verdict_names_its_scope_and_backend(report):
    assert report["verdict"] == "NON-CONFORMANT"
    assert report["scope"] == f"-m '{GROUPS}'"
    assert "no NPU was involved" in report["verdict_sentence"]
