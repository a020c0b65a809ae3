"""Answers that are not the JSON that was asked for are objected to, whole or cut."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict

from pytest_qwenvl.protocol.json_answer import objection_to_json


class Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    verdict: Literal["alpha", "beta"]
    level: Literal[17, 23]


@pytest.mark.parametrize(
    "text", ['{"verdict": "alpha", "level": 17}', ' {"verdict":"beta",\n"level":23}']
)
def test_what_was_asked_for(text: str) -> None:
    assert objection_to_json(text, whole=True, model=Verdict) == ""
    assert objection_to_json(text, whole=True) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alpha",
        '["alpha", 17]',
        '```json\n{"verdict": "alpha", "level": 17}\n```',
        '{"verdict": "alpha"}',
        '{"verdict": "alpha", "level": "17"}',
        '{"verdict": "alpha", "level": 18}',
        '{"verdict": "gamma", "level": 17}',
        '{"verdict": "alpha", "level": 17, "why": 1}',
        '{"verdict": "alpha", "verdict": "beta", "level": 17}',
        '{"verdict": "alpha", "level": 17',
    ],
)
def test_whole_answers_that_were_not(text: str) -> None:
    assert objection_to_json(text, whole=True, model=Verdict)


@pytest.mark.parametrize(
    "text", ["{", "{\n\t\t\t", '{"ver', '{"verdict": "alp', '{"verdict": "alpha",   ']
)
def test_beginnings(text: str) -> None:
    assert objection_to_json(text, whole=False, model=Verdict) == ""
    assert objection_to_json(text, whole=False) == ""
    assert objection_to_json(text, whole=True)


@pytest.mark.parametrize(
    "text",
    ["", "1, 2, 3", "Red", '"red', "[1, 2", "```json\n{", '{"a": 1} and', "{'verdict'"],
)
def test_beginnings_of_something_else(text: str) -> None:
    assert objection_to_json(text, whole=False)


@pytest.mark.parametrize("text", ['{"colour": "red", "le', '{"verdict": "gamma", "level": 1'])
def test_beginnings_of_another_schema(text: str) -> None:
    assert objection_to_json(text, whole=False) == ""
    assert objection_to_json(text, whole=False, model=Verdict)
