"""Constrained answers: JSON objects, JSON schemas, choices and patterns.

A small model may fill an answer with blanks between two values, which every schema allows; then
it is judged as the beginning of what was asked for. A frequency penalty keeps that short.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import pytest

from conformance.asking import chat_body, choice_of, tokens_of
from conformance.exchanges import COUNTING, OPEN_QUESTIONS, answers_of, asking
from fixtures.bank import generate
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.json_answer import objection_to_json

if TYPE_CHECKING:
    from pydantic import BaseModel

pytestmark = pytest.mark.openai

TOKENS = 64
CHOICES = ("banana split", "cherry pie")
PATTERN = r"[a-c]{5}-[0-9]{3}"


def _verdict() -> type[BaseModel]:
    from pydantic import BaseModel, ConfigDict

    # Nothing in the prompts names these: whatever answers with them was given the schema.
    class Verdict(BaseModel):
        model_config = ConfigDict(extra="forbid")

        verdict: Literal["alpha", "beta"]
        level: Literal[17, 23]

    return Verdict


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    return {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "schema": schema, "strict": True},
    }


def _text(answer: dict[str, Any]) -> tuple[str, bool]:
    """The text of an answer, and whether it ended by itself, before its last token."""
    choice = choice_of(answer)
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    assert isinstance(content, str) and content, f"expected a text, seen {str(choice)[:300]}"
    cut = choice.get("finish_reason") != "stop" or tokens_of(answer, "completion_tokens") >= TOKENS
    return content, not cut


def _check_verdicts(answers: list[dict[str, Any]], evidence: Evidence) -> None:
    model = _verdict()
    ended = 0
    for answer in answers:
        text, whole = _text(answer)
        ended += whole
        objection = objection_to_json(text, whole=whole, model=model)
        assert not objection, f"expected an answer of the schema, seen {text!r}: {objection}"
    evidence.record(ended=ended, asked=len(answers))
    assert ended, f"none of {len(answers)} answers ended within the tokens it had"


@pytest.mark.requirement("QVL-OAI-031")
def test_json_object(server: Endpoint, evidence: Evidence) -> None:
    """An answer is a JSON object, or the beginning of one where it was cut."""
    bodies = [
        asking(
            server,
            f"{question} Answer in JSON.",
            max_tokens=TOKENS,
            response_format={"type": "json_object"},
        )
        for question in (COUNTING, *OPEN_QUESTIONS[3:6])
    ]
    for answer in answers_of(server, bodies, evidence):
        text, whole = _text(answer)
        objection = objection_to_json(text, whole=whole)
        assert not objection, f"expected a JSON object, seen {text!r}: {objection}"


@pytest.mark.requirement("QVL-OAI-032")
def test_json_schema(server: Endpoint, evidence: Evidence) -> None:
    """Answers to any question validate against the schema."""
    bodies = [
        asking(
            server,
            question,
            max_tokens=TOKENS,
            frequency_penalty=2.0,
            response_format=_schema_of(_verdict()),
        )
        for question in (COUNTING, *OPEN_QUESTIONS[3:6])
    ]
    _check_verdicts(answers_of(server, bodies, evidence), evidence)


@pytest.mark.requirement("QVL-OAI-033")
def test_json_schema_of_a_picture(server: Endpoint, evidence: Evidence) -> None:
    """Answers to questions about pictures validate too."""
    bodies = [
        chat_body(
            server,
            item.openai_messages(),
            max_tokens=TOKENS,
            frequency_penalty=2.0,
            response_format=_schema_of(_verdict()),
        )
        for item in generate("colour", 2) + generate("describe", 2)
    ]
    _check_verdicts(answers_of(server, bodies, evidence), evidence)


@pytest.mark.requirement("QVL-OAI-034")
def test_choice_and_regex(server: Endpoint, capabilities: Capabilities, evidence: Evidence) -> None:
    """Answers are one of the choices, or match the pattern."""
    capabilities.require("structured_outputs")
    questions = (COUNTING, *OPEN_QUESTIONS[3:5])
    bodies = [
        asking(server, question, max_tokens=TOKENS, structured_outputs=constraint)
        for constraint in ({"choice": list(CHOICES)}, {"regex": PATTERN})
        for question in questions
    ]
    texts = [_text(answer)[0] for answer in answers_of(server, bodies, evidence)]
    chosen, matching = texts[: len(questions)], texts[len(questions) :]
    assert set(chosen) <= set(CHOICES), f"choice {CHOICES}: seen {chosen}"
    assert all(re.fullmatch(PATTERN, text) for text in matching), f"{PATTERN=}: seen {matching}"
