"""The OpenAI schema, read strictly from raw bodies."""

from __future__ import annotations

import pytest

from conformance.asking import chat, chat_body, choice_of, object_of, text_of, tokens_of
from fixtures.bank import generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.chat_schema import read_chat_completion, read_error, read_models
from pytest_qwenvl.protocol.findings import Deviation, Finding

pytestmark = pytest.mark.openai

CHAT = "/v1/chat/completions"


def _check(findings: list[Finding], body: str, evidence: Evidence) -> None:
    evidence.append("bodies", {"body": body[:4000], "findings": [str(it) for it in findings]})
    assert not findings, "in the raw body:\n" + "\n".join(f"  {it}" for it in findings[:10])


@pytest.mark.smoke
@pytest.mark.requirement("QVL-OAI-001")
def test_chat_completion_schema(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Answers with an image, without one, and with log probabilities fit the schema."""
    (picture,) = generate("colour", 1)
    (text,) = generate("chat", 1)
    cases = (
        (picture.openai_messages(), {}),
        (text.openai_messages(), {}),
        (picture.openai_messages(), {"logprobs": True, "top_logprobs": 2}),
    )
    for messages, fields in cases:
        response = server.request("POST", CHAT, json=chat_body(server, messages, **fields))
        assert response.status_code == 200, (
            f"expected 200, seen {response.status_code}: {response.text[:300]}"
        )
        content_type = response.headers.get("content-type", "")
        assert content_type.startswith("application/json"), (
            f"content-type: expected application/json, seen {content_type!r}"
        )
        _, findings = read_chat_completion(
            response.content, deviations=deviations, model=server.model
        )
        _check(findings, response.text, evidence)


@pytest.mark.requirement("QVL-OAI-002")
def test_max_tokens(server: Endpoint, evidence: Evidence) -> None:
    """An answer ends after the tokens allowed, and says so."""
    (item,) = generate("describe", 1)
    whole = chat(server, item.openai_messages())
    written = tokens_of(whole, "completion_tokens")
    assert written > 4, f"expected a description of more than 4 tokens, seen {text_of(whole)!r}"
    for name in ("max_tokens", "max_completion_tokens"):
        fields = {"max_tokens": None, name: 4}
        body = chat_body(server, item.openai_messages(), **fields)
        response = server.request(
            "POST", CHAT, json={key: value for key, value in body.items() if value is not None}
        )
        assert response.status_code == 200, f"expected 200, seen {response.text[:300]}"
        cut = object_of(response)
        evidence.append("answers", {"limit": {name: 4}, "answer": cut})
        seen = tokens_of(cut, "completion_tokens")
        assert seen == 4, f"{name}=4: expected usage.completion_tokens 4, seen {seen}"
        reason = choice_of(cut).get("finish_reason")
        assert reason == "length", f"{name}=4: expected finish_reason length, seen {reason!r}"
        assert text_of(whole).startswith(text_of(cut)), (
            f"{name}=4: expected the beginning of {text_of(whole)!r}, seen {text_of(cut)!r}"
        )


@pytest.mark.requirement("QVL-OAI-003")
def test_unknown_model(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Another model's name is refused by name."""
    (item,) = generate("chat", 1)
    body = chat_body(server, item.openai_messages()) | {"model": "no-such-model"}
    response = server.request("POST", CHAT, json=body)
    assert response.status_code == 404, (
        f"a request for 'no-such-model': expected 404, seen {response.status_code}: "
        f"{response.text[:300]}"
    )
    error, findings = read_error(response.content, deviations=deviations, status=404)
    _check(findings, response.text, evidence)
    assert error is not None and "no-such-model" in error.message, (
        f"expected an error that names the model, seen {response.text[:300]}"
    )
    text_of(chat(server, item.openai_messages()))


@pytest.mark.requirement("QVL-OAI-004")
def test_models_schema(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """The list of models fits the schema."""
    response = server.request("GET", "/v1/models")
    _, findings = read_models(response.content, deviations=deviations, model=server.model)
    _check(findings, response.text, evidence)
