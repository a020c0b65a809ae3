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
from pytest_qwenvl.errors import EngineError, MeasurementError
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


@pytest.fixture
def evaluate_served(deployment, server):
    def evaluation(floor):
        with open("evaluations", "a") as file:
            file.write("one\\n")
        if os.environ["EVALUATION"] == "unanswered":
            raise EngineError("a request was not answered: 500")
        first, last, empty = map(int, os.environ["EVALUATION"].split())
        harness = os.environ.get("HARNESS", "local-chat-completions")
        return answered(range(first, last), floor.items, empty, harness=harness)

    return evaluation


@pytest.fixture(scope="session")
def server(deployment):
    return None


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
SERVED_SCORE, SERVED_ANSWERS, SERVED_BASELINE = (f"QVL-ACC-{number:03}" for number in (5, 6, 7))
SERVED = ACCURACY.replace(
    'deployment = "offline-1npu"', 'deployment = "serve-1npu"\nharness = "local-chat-completions"'
)


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
    shutil.copy(CHECKOUT / "conformance" / "test_accuracy_served.py", suite.suite)
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


@pytest.fixture
def served(suite_of_accuracy: Suite) -> Suite:
    """The suite, with a floor of the served model alone."""
    profile = suite_of_accuracy.profile(deployments=[("serve", 1)])
    profile.write_text(profile.read_text() + SERVED)
    return suite_of_accuracy


@pytest.mark.parametrize(
    ("evaluation", "score", "answers"),
    [
        ("0 110 0", "PASS", "PASS"),
        ("0 40 0", "FAIL", "PASS"),
        ("0 70 0", "INCONCLUSIVE", "PASS"),
        ("0 110 4", "FAIL", "FAIL"),
        # A server that does not answer is the product's failure, not the suite's.
        ("unanswered", "FAIL", "FAIL"),
    ],
)
def test_served_outcomes(
    accuracy: Any, served: Suite, evaluation: str, score: str, answers: str
) -> None:
    assert accuracy(evaluation) == {SERVED_SCORE: score, SERVED_ANSWERS: answers}
    assert evaluations(served) == 1


def test_another_harness_is_no_score_of_a_server(accuracy: Any, served: Suite) -> None:
    outcomes = accuracy("0 120 0", HARNESS="vllm-vlm")
    assert outcomes[SERVED_SCORE] == "INVALID"


def test_served_and_offline_beside_each_other(
    accuracy: Any, suite_of_accuracy: Suite, tmp_path: Path
) -> None:
    """Each is judged by its own floor and paired with its own kind."""
    suite = suite_of_accuracy
    profile = suite.profile(deployments=[("offline", 1), ("serve", 1)])
    harder = SERVED.replace("floor = 0.6", "floor = 0.95")
    profile.write_text(profile.read_text() + ACCURACY + harder)
    seen = accuracy("0 100 0")
    assert seen == {
        QUICK: "PASS", SCORE: "PASS", ANSWERS: "PASS", SERVED_SCORE: "FAIL", SERVED_ANSWERS: "PASS",
    }  # fmt: skip
    assert evaluations(suite) == 2
    earlier = tmp_path / "earlier.json"
    shutil.copy(suite.report / "report.json", earlier)
    again = accuracy("0 100 0", f"--baseline={earlier}")
    assert (again[BASELINE], again[SERVED_BASELINE]) == ("PASS", "PASS")
    # Judged later against the same run: each comparison once, of its own requirement.
    run = judge_again(read_report(suite.report), read_report(earlier)).run
    compared = [
        (it.requirement, it.deployment)
        for it in run.results
        if it.requirement in (BASELINE, SERVED_BASELINE)
    ]
    assert sorted(compared) == [(BASELINE, "offline-1npu"), (SERVED_BASELINE, "serve-1npu")]
