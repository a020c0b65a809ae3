"""Small records to build runs of; every test says only what it is about."""

from __future__ import annotations

from typing import Any

from pytest_qwenvl.report.results import Outcome, Requirement, Result, RunRecord

MODEL = "qwen3-vl-tiny"
OTHER = "qwen2.5-vl-tiny"
SERVE = "serve-1npu"


def result(requirement: str = "QVL-SRV-001", outcome: str = "PASS", **fields: Any) -> Result:
    values: dict[str, Any] = {
        "requirement": requirement,
        "group": "serve",
        "level": "core",
        "test": f"conformance/test_serve.py::test_it[{requirement}]",
        "model": MODEL,
        "deployment": SERVE,
        "outcome": Outcome(outcome),
    }
    return Result(**{**values, **fields})


def requirement(id: str = "QVL-SRV-001", **fields: Any) -> Requirement:
    values: dict[str, Any] = {
        "id": id,
        "group": "serve",
        "level": "core",
        "since": "1.0",
        "must": f"The server MUST keep {id}.",
        "rationale": "Clients rely on it.",
        "source": "the tutorial",
    }
    return Requirement(**{**values, **fields})


def run(**fields: Any) -> RunRecord:
    values: dict[str, Any] = {
        "suite_version": "0.1.0",
        "run_id": "run-1",
        "started": 1_700_000_000.0,
        "complete": True,
        "backend": "cpu",
        "npus": 2,
    }
    return RunRecord(**{**values, **fields})


def claim(requirement_id: str = "QVL-SRV-001", model: str = MODEL, deployment: str = SERVE) -> str:
    return f"{model}/{deployment} {requirement_id}"
