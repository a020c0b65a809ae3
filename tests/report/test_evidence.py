from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.report.evidence import REDACTED, Redactor, json_value
from pytest_qwenvl.report.results import EngineRecord, Outcome, Result
from tests.report.records import result


@dataclass
class Point:
    x: float


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (1.5, 1.5),
        (True, True),
        (None, None),
        ((1, {2}), [1, [2]]),
        ({1: "a", Outcome.PASS: "b"}, {"1": "a", "PASS": "b"}),
        (Path("/x"), "/x"),
        (Point(float("inf")), {"x": "Infinity"}),
        ("a\udcffb", "a\\udcffb"),
        (2**80, 2**80),
    ],
)
def test_values_become_json(value: object, expected: object) -> None:
    made = json_value(value)
    assert made == expected
    json.dumps(made, allow_nan=False).encode("utf-8")


def test_bytes_keep_length_digest_and_small_content() -> None:
    small = json_value(b"\xff\x00")
    assert small["bytes"] == 2
    assert small["base64"] == "/wA="
    large = json_value(bytes(100_000))
    assert large["bytes"] == 100_000
    assert "base64" not in large
    assert len(large["sha256"]) == 64


def test_unknown_objects_and_endless_nesting_are_named() -> None:
    assert "object object" in json_value(object())["unrepresentable"]
    endless: list[Any] = []
    endless.append(endless)
    assert "nested deeper" in json.dumps(json_value(endless))


def test_secret_values_are_gone_everywhere() -> None:
    key = "sk-Zq81xyTT"
    redactor = Redactor([key, f"{key}-longer", "EMPTY", "a"])
    shown = redactor.result(
        result(
            outcome="FAIL",
            reason=f"server said: bad key {key}-longer",
            evidence={"request": {"headers": {"X": key}}, "list": [key], key: 1, "n": float("nan")},
            log=f"key={key}",
            reproduce=f"curl -H 'Authorization: Bearer other-{key}'",
        )
    )
    text = shown.model_dump_json()
    assert "Zq81" not in text
    assert "-longer" not in text
    assert shown.evidence["n"] == "NaN"
    assert redactor.text("EMPTY a") == "EMPTY a"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abc123def",
        '{"authorization": "Bearer abc123def"}',
        "proxy-authorization=Basic abc123def",
        "sent bearer abc123def then",
        "vllm serve --api-key abc123def --port 1",
        "vllm serve --api-key=abc123def",
        "pytest --endpoint=http://me:abc123def@10.0.0.1:8000/v1",
    ],
)
def test_credentials_of_unknown_value_are_hidden_in_text(text: str) -> None:
    shown = Redactor().text(text)
    assert "abc123def" not in shown
    assert REDACTED in shown


def test_credential_fields_are_hidden_and_tokens_of_a_model_are_not() -> None:
    shown = Redactor().value(
        {"Authorization": "x", "api_key": "y", "token": "red", "max_tokens": 5, "prompt_tokens": 9}
    )
    assert shown == {
        "Authorization": REDACTED,
        "api_key": REDACTED,
        "token": "red",
        "max_tokens": 5,
        "prompt_tokens": 9,
    }


def test_engine_loses_keys_in_argv_and_environment() -> None:
    engine = EngineRecord(
        model="m",
        deployment="d",
        kind="serve",
        argv=("vllm", "serve", "--api-key", "one", "two", "--port", "80"),
        environment={"HF_TOKEN": "abc", "VLLM_API_KEY": "abc", "TOKENIZERS_PARALLELISM": "false"},
    )
    shown = Redactor().engine(engine)
    assert shown.argv == ("vllm", "serve", "--api-key", REDACTED, REDACTED, "--port", "80")
    assert shown.environment == {
        "HF_TOKEN": REDACTED,
        "VLLM_API_KEY": REDACTED,
        "TOKENIZERS_PARALLELISM": "false",
    }


def test_redacted_result_is_readable_again() -> None:
    shown = Redactor().result(result(evidence={"raw": b"\xff", "set": {1}}))
    assert Result.model_validate_json(shown.model_dump_json()) == shown
