"""The published JSON Schema of ``report.json`` (pure)."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.report.results import SCHEMA_VERSION, RunRecord

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def report_schema() -> dict[str, Any]:
    """What a report of this version is, as JSON Schema.

    A result's ``evidence`` is open; an evaluation that it keeps under ``measurement`` follows
    ``#/$defs/Evaluation``, with ``kind`` and ``name`` beside its fields.
    """
    schema = RunRecord.model_json_schema(mode="serialization")
    evaluation = TypeAdapter(Evaluation).json_schema(mode="serialization")
    definitions = {**schema.pop("$defs"), **evaluation.pop("$defs"), "Evaluation": evaluation}
    return {
        "$schema": DIALECT,
        "title": f"report.json of pytest-qwenvl, schema version {SCHEMA_VERSION}",
        **{key: value for key, value in schema.items() if key != "title"},
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """The schema as the file in the documentation has it."""
    return json.dumps(report_schema(), indent=2, ensure_ascii=False) + "\n"
