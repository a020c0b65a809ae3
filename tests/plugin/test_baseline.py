"""--baseline: what it must be, and that comparisons are claimed with it alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.plugin.suite import Suite

TESTS = """\
import pytest

pytestmark = [pytest.mark.accuracy, pytest.mark.deployment_mode("serve")]

@pytest.mark.requirement("QVL-ACC-001")
def test_measures(deployment, evidence):
    evidence.record(measurement={"kind": "evaluation", "name": "colours", "score": 0.5})

@pytest.mark.requirement("QVL-ACC-004")
def test_compares(deployment, baseline, evidence):
    evidence.record(seen=sorted(map(str, baseline)))
    assert f"evaluation colours on {deployment.id}" in map(str, baseline)
"""
ENTRY = """
[[requirement]]
id = "{id}"
group = "accuracy"
level = "core"
since = "0.1"
must = "It MUST work."
rationale = "a test"
source = "a test"
judge = "{judge}"
"""


@pytest.fixture
def comparing(suite: Suite) -> Suite:
    """A suite with one measuring and one comparing requirement, and nothing to start."""
    (suite.suite / "test_suite.py").write_text(TESTS)
    entries = (ENTRY.format(id="QVL-ACC-001", judge="score"),
               ENTRY.format(id="QVL-ACC-004", judge="baseline"))  # fmt: skip
    (suite.suite / "requirements.toml").write_text('version = "0.1"\n' + "".join(entries))
    suite.profile()
    return suite


def outcomes(suite: Suite) -> dict[str, str]:
    return {it["requirement"]: it["outcome"] for it in suite.read_report()["results"]}


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_comparisons_are_claimed_with_a_baseline_alone(
    comparing: Suite, tmp_path: Path, workers: list[str]
) -> None:
    report = f"--conformance-report={comparing.report}"
    done = comparing.run(report)
    assert done.code == 0, done.all
    assert outcomes(comparing) == {"QVL-ACC-001": "PASS"}
    assert not any("QVL-ACC-004" in claim for claim in comparing.read_report()["planned"])
    earlier = tmp_path / "earlier.json"
    shutil.copy(comparing.report / "report.json", earlier)
    done = comparing.run(report, f"--baseline={earlier}", *workers)
    assert done.code == 0, done.all
    assert outcomes(comparing) == {"QVL-ACC-001": "PASS", "QVL-ACC-004": "PASS"}
    assert any("QVL-ACC-004" in claim for claim in comparing.read_report()["planned"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("", "empty; the run left no report there"),
        ('{"schema_version": 1, "run_', "cut off after"),
        ('{"tests": 3}', "no report of this suite"),
        ('{"schema_version": 7, "run_id": "x"}', "schema version 7"),
        (
            '{"schema_version": 1, "run_id": "x", "suite_version": "0", "started": 0,'
            ' "complete": true}',
            "keeps no measurement to compare with",
        ),
    ],
)
def test_bad_baseline_is_a_usage_error_and_nothing_is_run(
    comparing: Suite, tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "earlier.json"
    if content is not None:
        path.write_text(content)
    done = comparing.run(f"--baseline={path}", f"--conformance-report={comparing.report}")
    done.assert_usage_error(said)
    assert not (comparing.report / "report.json").exists()
