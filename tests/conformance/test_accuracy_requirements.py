"""The accuracy requirements over canned evaluations: kept whole, and judged alike later."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.report.gating import judge_again
from pytest_qwenvl.report.reading import read_report
from tests.plugin.suite import Suite
from tests.stand_in_engine.install import CHECKOUT

CONFTEST = """\
import json
import os

import pytest

from conformance.asking import questions
from conformance.test_accuracy import _QUICK, _SEED
from pytest_qwenvl.engines.offline import Generation
from pytest_qwenvl.errors import MeasurementError
from tests.measure.evaluations import answered


@pytest.fixture
def evaluate(deployment, npu_lease):
    def evaluation(floor):
        with open("evaluations", "a") as file:
            file.write("one\\n")
        if os.environ["EVALUATION"] == "broken":
            raise MeasurementError("lm-eval exited with status 1")
        first, last, empty = map(int, os.environ["EVALUATION"].split())
        return answered(range(first, last), floor.items, empty)

    return evaluation


class Played:
    def __init__(self, profile):
        items = [it for name in _QUICK for it in questions(profile, name, seed=_SEED)]
        self.known = {json.dumps(it.openai_messages()): it.answer for it in items}

    def generate(self, conversations, *, max_tokens):
        known = {} if os.environ.get("BLIND") else self.known
        texts = [known.get(json.dumps(it), "nothing") for it in conversations]
        return [Generation(text, (), 1, "stop") for text in texts]


@pytest.fixture(scope="session")
def offline_llm(deployment):
    return Played(deployment.profile)
"""
ACCURACY = """
[[accuracy]]
task = "colours"
deployment = "offline-1npu"
metric = "exact_match,none"
items = 120
floor = 0.6
calibrated = true
maximum_empty = 0.02
source = "invented for this test"
[accuracy.answers]
cut_off = 0.02
source = "invented for this test"
[accuracy.margin]
value = 0.05
source = "invented for this test"
"""
SCORE, QUICK, ANSWERS, BASELINE = (f"QVL-ACC-{number:03}" for number in (1, 2, 3, 4))


@pytest.fixture
def accuracy(suite_of_accuracy: Suite) -> Any:
    """Run the accuracy group over a canned evaluation; gives its outcomes, and the report again."""

    def run(evaluation: str, *arguments: str, **environment: str) -> dict[str, str]:
        suite = suite_of_accuracy
        (suite.folder / "evaluations").unlink(missing_ok=True)
        done = suite.run(
            f"--conformance-report={suite.report}", "-m", "accuracy", *arguments,
            PYTHONPATH=str(CHECKOUT), EVALUATION=evaluation, **environment,
        )  # fmt: skip
        assert "INTERNALERROR" not in done.all, done.all
        record = read_report(suite.report)
        # Whatever a run says, judging its report says too.
        again = judge_again(record)
        assert again.changes == (), done.all
        assert again.run.verdict is record.verdict
        return {it.requirement: it.outcome.value for it in record.results}

    return run


@pytest.fixture
def suite_of_accuracy(tmp_path: Path) -> Suite:
    suite = Suite(tmp_path / "checkout")
    (suite.suite / "test_suite.py").unlink()
    shutil.copy(CHECKOUT / "conformance" / "test_accuracy.py", suite.suite)
    shutil.copy(CHECKOUT / "conformance" / "requirements.toml", suite.suite)
    (suite.suite / "conftest.py").write_text(CONFTEST)
    profile = suite.profile(deployments=[("offline", 1)])
    profile.write_text(profile.read_text() + ACCURACY)
    return suite


def evaluations(suite: Suite) -> int:
    path = suite.folder / "evaluations"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_one_evaluation_decides_and_is_kept_once(accuracy: Any, suite_of_accuracy: Suite) -> None:
    assert accuracy("0 110 0") == {QUICK: "PASS", SCORE: "PASS", ANSWERS: "PASS"}
    assert evaluations(suite_of_accuracy) == 1
    kept = [it.evidence.get("measurement") for it in read_report(suite_of_accuracy.report).results]
    assert Counter(type(it).__name__ for it in kept) == {"dict": 1, "str": 1, "NoneType": 1}


@pytest.mark.parametrize(
    ("evaluation", "score", "answers"),
    [
        ("0 40 0", "FAIL", "PASS"),
        ("0 70 0", "INCONCLUSIVE", "PASS"),
        ("0 110 4", "FAIL", "FAIL"),
        ("broken", "ERROR", "ERROR"),
    ],
)
def test_outcomes(
    accuracy: Any, suite_of_accuracy: Suite, evaluation: str, score: str, answers: str
) -> None:
    assert accuracy(evaluation) == {QUICK: "PASS", SCORE: score, ANSWERS: answers}
    # A failed evaluation is not tried again for each requirement.
    assert evaluations(suite_of_accuracy) == 1


def test_a_blind_model_is_not_evaluated(accuracy: Any, suite_of_accuracy: Suite) -> None:
    assert accuracy("0 110 0", BLIND="1") == {
        QUICK: "FAIL", SCORE: "INCONCLUSIVE", ANSWERS: "INCONCLUSIVE",
    }  # fmt: skip
    assert evaluations(suite_of_accuracy) == 0


def test_against_an_earlier_run(accuracy: Any, suite_of_accuracy: Suite, tmp_path: Path) -> None:
    accuracy("0 110 0")
    earlier = tmp_path / "earlier.json"
    shutil.copy(suite_of_accuracy.report / "report.json", earlier)
    baseline = f"--baseline={earlier}"
    assert accuracy("0 110 0", baseline)[BASELINE] == "PASS"
    lossy = accuracy("8 110 0", baseline)
    # A loss of eight items in 120 does not show against the floor.
    assert (lossy[SCORE], lossy[BASELINE]) == ("PASS", "FAIL")
    assert accuracy("4 110 0", baseline)[BASELINE] == "INCONCLUSIVE"
