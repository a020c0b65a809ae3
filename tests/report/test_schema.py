"""The published schema is this version's, and says of real reports that they follow it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.cli import main
from pytest_qwenvl.report.results import SCHEMA_VERSION, Outcome, RunRecord, Verdict
from pytest_qwenvl.report.schema import report_schema
from tests.report.measured import SCORE, measured
from tests.report.test_gating import SAME, evidence_of

CHECKOUT = Path(__file__).parents[2]


def shape(schema: dict[str, Any]) -> dict[str, Any]:
    """What a reader relies on: the keys of every object; texts differ by version of pydantic."""
    objects = {"report": schema, **schema["$defs"]}
    return {
        name: (sorted(its.get("properties", {})), sorted(its.get("required", [])), its.get("enum"))
        for name, its in objects.items()
    }


def test_published_schema_is_current() -> None:
    published = json.loads((CHECKOUT / "docs" / "report.schema.json").read_text(encoding="utf-8"))
    assert shape(published) == shape(report_schema())
    assert published["properties"]["schema_version"]["const"] == SCHEMA_VERSION


def test_it_names_everything_a_report_has() -> None:
    schema = report_schema()
    written = json.loads(measured(SAME).model_dump_json())
    assert set(schema["properties"]) == set(written) == set(RunRecord.model_fields)
    assert schema["additionalProperties"] is False
    definitions = schema["$defs"]
    assert set(definitions["Result"]["properties"]) == set(written["results"][0])
    assert definitions["Outcome"]["enum"] == [it.value for it in Outcome]
    assert definitions["Verdict"]["enum"] == [it.value for it in Verdict]
    kept = evidence_of(measured(SAME), SCORE)["measurement"]
    assert set(definitions["Evaluation"]["properties"]) == set(kept) - {"kind", "name"}
    assert set(definitions["EvaluationItem"]["properties"]) == set(kept["items"][0])


def test_command_writes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs").mkdir()
    root = ["--root", str(tmp_path)]
    assert main(["schema", "--check", *root]) == 1
    assert "out of date" in capsys.readouterr().err
    assert main(["schema", *root]) == 0
    assert main(["schema", "--check", *root]) == 0
    (tmp_path / "docs/report.schema.json").write_text("{}")
    assert main(["schema", "--check", *root]) == 1
    assert main(["schema", "--root", str(tmp_path / "missing")]) == 2
