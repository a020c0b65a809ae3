"""/v1/responses: the schema, the same answers as chat, and answers that were cut."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.asking import chat, text_of
from conformance.exchanges import COUNTING, answers_of, check_findings, post_all
from fixtures.bank import generate
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.findings import Deviation
from pytest_qwenvl.protocol.responses_schema import output_text, read_response

pytestmark = pytest.mark.openai

RESPONSES = "/v1/responses"


def as_input(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Chat messages in the words of ``/v1/responses``."""
    return [
        {
            "role": message["role"],
            "content": message["content"]
            if isinstance(message["content"], str)
            else [
                {"type": "input_text", "text": part["text"]}
                if part["type"] == "text"
                else {
                    "type": "input_image",
                    "image_url": part["image_url"]["url"],
                    # OpenAI's schema requires it, and vLLM 0.23.0 does.
                    "detail": "auto",
                }
                for part in message["content"]
            ],
        }
        for message in messages
    ]


def _body(server: Endpoint, asked: Any, **fields: Any) -> dict[str, Any]:
    return {
        "model": server.model,
        "input": asked,
        "temperature": 0.0,
        "max_output_tokens": 128,
        "store": False,
        **fields,
    }


@pytest.mark.requirement("QVL-OAI-045")
def test_response_schema(
    server: Endpoint,
    capabilities: Capabilities,
    deviations: tuple[Deviation, ...],
    evidence: Evidence,
) -> None:
    """Responses to a text, to a picture, and one that was cut fit the schema."""
    capabilities.require("responses")
    (picture,) = generate("colour", 1)
    bodies = (
        _body(server, "Say hello."),
        _body(server, as_input(picture.openai_messages())),
        _body(server, COUNTING, max_output_tokens=16),
    )
    for response in post_all(server, bodies, RESPONSES):
        assert response.status_code == 200, (
            f"POST {RESPONSES}: expected 200, seen {response.status_code}: {response.text[:300]}"
        )
        read, findings = read_response(response.content, deviations=deviations, model=server.model)
        check_findings(findings, response.text, evidence)
        assert read is not None and read.output_text, "expected a text in the output, seen none"


@pytest.mark.requirement("QVL-OAI-046")
def test_answers_like_chat(
    server: Endpoint, capabilities: Capabilities, evidence: Evidence
) -> None:
    """The same question has the same answer at both endpoints."""
    capabilities.require("responses")
    (picture,) = generate("which_image", 1, images=2)
    system = "Begin every answer with the word Answer:"
    question = "What is one plus one?"
    obedient = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    cases: tuple[tuple[str, list[dict[str, Any]], dict[str, Any]], ...] = (
        ("a text", [{"role": "user", "content": COUNTING}], _body(server, COUNTING)),
        ("instructions", obedient, _body(server, question, instructions=system)),
        (
            "two pictures",
            picture.openai_messages(),
            _body(server, as_input(picture.openai_messages())),
        ),
    )
    responses = answers_of(server, [body for _, _, body in cases], evidence, RESPONSES)
    for (name, messages, _), response in zip(cases, responses, strict=True):
        expected, seen = text_of(chat(server, messages)), output_text(response)
        assert seen == expected, f"{name}: expected the chat's answer {expected!r}, seen {seen!r}"


@pytest.mark.requirement("QVL-OAI-047")
def test_cut_response(server: Endpoint, capabilities: Capabilities, evidence: Evidence) -> None:
    """What max_output_tokens cut is incomplete and says so; what was not is completed."""
    capabilities.require("responses")
    bodies = [_body(server, COUNTING, max_output_tokens=16), _body(server, "Say hello.")]
    cut, whole = answers_of(server, bodies, evidence, RESPONSES)
    assert cut.get("status") == "incomplete", (
        f"16 tokens of a longer answer: expected status incomplete, seen {cut.get('status')!r}"
    )
    details = cut.get("incomplete_details")
    assert isinstance(details, dict) and details.get("reason") == "max_output_tokens", (
        f"incomplete_details: expected the reason max_output_tokens, seen {details!r}"
    )
    written = (cut.get("usage") or {}).get("output_tokens")
    assert written == 16, f"usage.output_tokens: expected 16, seen {written!r}"
    assert whole.get("status") == "completed", (
        f"a whole answer: expected status completed, seen {whole.get('status')!r}"
    )
    details = whole.get("incomplete_details")
    assert details is None, f"a whole answer: expected no incomplete_details, seen {details!r}"
