"""Importing the readers and judges loads nothing heavy: collecting must stay in milliseconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MODULES = [
    "pytest_qwenvl.protocol.chat_schema",
    "pytest_qwenvl.protocol.completion_schema",
    "pytest_qwenvl.protocol.json_answer",
    "pytest_qwenvl.protocol.responses_schema",
    "pytest_qwenvl.protocol.stream",
    "pytest_qwenvl.protocol.tool_calls",
    "pytest_qwenvl.protocol.image_tokens",
    "pytest_qwenvl.measure.accuracy",
    "pytest_qwenvl.measure.latency",
    "pytest_qwenvl.measure.statistics",
]


@pytest.mark.parametrize("module", MODULES)
def test_import_is_light(module: str) -> None:
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    loaded = set(json.loads(output))
    assert module in loaded
    assert not loaded & {"scipy", "numpy", "openai", "requests", "rich", "torch", "vllm"}
