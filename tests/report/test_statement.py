"""The in-toto statement: over the digests of what was tested, and nothing without one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.cli import main
from pytest_qwenvl.engines.installed import record_digests
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.results import RunRecord
from pytest_qwenvl.report.statement import statement_of
from pytest_qwenvl.report.verdict import judge_run
from tests.report.measured import SCORE, measured
from tests.report.records import MODEL, SERVE, claim, result, run
from tests.report.test_gating import SAME, evidence_of, stored

DIGESTS = {
    name: hashlib.sha256(name.encode()).hexdigest() for name in ("weights", "wheel", "image")
}


def subject_run(**fields: Any) -> RunRecord:
    record = measured(
        SAME,
        digests={"vllm-0.32.0.dist-info/RECORD": DIGESTS["wheel"]},
        versions={"image": f"quay.io/a/b:v1 (quay.io/a/b@sha256:{DIGESTS['image']})"},
        **fields,
    )
    evidence_of(record, SCORE)["weights_files"] = {"model.safetensors": DIGESTS["weights"]}
    return record


def test_subjects_are_model_wheels_and_image() -> None:
    statement = statement_of(subject_run())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert statement["subject"] == [
        {"name": f"{MODEL}/model.safetensors", "digest": {"sha256": DIGESTS["weights"]}},
        {"name": "vllm-0.32.0.dist-info/RECORD", "digest": {"sha256": DIGESTS["wheel"]}},
        {"name": "quay.io/a/b", "digest": {"sha256": DIGESTS["image"]}},
    ]
    predicate = statement["predicate"]
    assert predicate["result"] == "PASSED"
    assert predicate["passedTests"] == [
        claim("QVL-ACC-001", MODEL, "offline-1npu"), claim("QVL-ACC-003", MODEL, "offline-1npu"),
    ]  # fmt: skip
    assert (predicate["warnedTests"], predicate["failedTests"]) == ([], [])
    assert all(set(it) <= {"name", "annotations", "digest"} for it in predicate["configuration"])
    json.dumps(statement, allow_nan=False)


@pytest.mark.parametrize(
    ("outcome", "stated"), [("PASS", "PASSED"), ("ERROR", "WARNED"), ("FAIL", "FAILED")]
)
def test_result_is_the_verdict(outcome: str, stated: str) -> None:
    record = judge_run(
        run(results=[result(), result("QVL-SRV-002", outcome)], digests={"a": DIGESTS["wheel"]})
    )
    predicate = statement_of(record)["predicate"]
    assert predicate["result"] == stated
    lists = {"PASS": "passedTests", "ERROR": "warnedTests", "FAIL": "failedTests"}
    assert claim("QVL-SRV-002", MODEL, SERVE) in predicate[lists[outcome]]
    # Every test is in one list and one only.
    named = [name for key in lists.values() for name in predicate[key]]
    assert sorted(named) == sorted([claim("QVL-SRV-001"), claim("QVL-SRV-002")])


def test_nothing_without_a_digest() -> None:
    with pytest.raises(UsageProblem, match="no digest of what it tested"):
        statement_of(judge_run(run(results=[result()])))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "statement.json"
    assert main(["gate", stored(tmp_path, subject_run()), "--statement", str(out)]) == 0
    assert json.loads(out.read_text()) == statement_of(subject_run())
    capsys.readouterr()
    bare = stored(tmp_path, judge_run(run(results=[result()])), "bare.json")
    assert main(["gate", bare, "--statement", str(tmp_path / "no.json")]) == 2
    assert not (tmp_path / "no.json").exists()


def test_wheels_are_known_by_their_records(tmp_path: Path) -> None:
    for folder, content in {
        "vllm_ascend-0.23.0.dist-info": b"a", "vllm-0.23.0.dist-info": b"b",
        "vllm_flash-1.0.dist-info": b"c",
    }.items():  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "RECORD").write_bytes(content)
    (tmp_path / "torch-2.0.dist-info").mkdir()
    assert record_digests(tmp_path, ["vllm", "vllm-ascend", "torch", "absent"]) == {
        "vllm-0.23.0.dist-info/RECORD": hashlib.sha256(b"b").hexdigest(),
        "vllm_ascend-0.23.0.dist-info/RECORD": hashlib.sha256(b"a").hexdigest(),
    }
