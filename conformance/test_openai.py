"""The OpenAI schema, read strictly from raw bodies: what identifies an answer and its parts."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest

from conformance.asking import chat, chat_body, object_of, text_of, tokens_of
from conformance.exchanges import (
    CHAT,
    COUNTING,
    OPEN_QUESTIONS,
    answers_of,
    asking,
    check_findings,
    choices_of,
    keep,
    post_all,
)
from fixtures.bank import generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.chat_schema import read_chat_completion, read_error, read_models
from pytest_qwenvl.protocol.findings import Deviation, about

pytestmark = pytest.mark.openai

# uvicorn writes its Date header once a second, and created is cut to whole seconds.
CLOCK_SLACK = 2.0
# Longer than the second that created is told to.
NEXT_SECOND = 1.1


@pytest.mark.smoke
@pytest.mark.requirement("QVL-OAI-001")
def test_chat_completion_schema(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Answers with an image, without one, and with log probabilities fit the schema."""
    (picture,) = generate("colour", 1)
    (text,) = generate("chat", 1)
    bodies = (
        chat_body(server, picture.openai_messages()),
        chat_body(server, text.openai_messages()),
        chat_body(server, picture.openai_messages(), logprobs=True, top_logprobs=2),
        asking(server, COUNTING, temperature=1.0, n=2, max_tokens=8),
    )
    for body, response in zip(bodies, post_all(server, bodies), strict=True):
        assert response.status_code == 200, (
            f"expected 200, seen {response.status_code}: {response.text[:300]}"
        )
        completion, findings = read_chat_completion(
            response.content,
            deviations=deviations,
            model=server.model,
            choices=int(body.get("n", 1)),
        )
        check_findings(about(findings, "form", "content", "finish"), response.text, evidence)
        assert completion is not None and completion.choices, "expected a choice, seen none"


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
    evidence.record(refusal=response.text[:2000], findings=[str(it) for it in findings])
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
    check_findings(findings, response.text, evidence)


@pytest.mark.requirement("QVL-OAI-005")
def test_ids(server: Endpoint, evidence: Evidence) -> None:
    """Every answer has an id of its own, also those of equal requests sent together."""
    bodies = [asking(server, question, max_tokens=1) for question in [COUNTING] * 8]
    bodies += [asking(server, question, max_tokens=1) for question in OPEN_QUESTIONS[:4]]
    ids = [answer.get("id") for answer in answers_of(server, bodies, evidence)]
    named = [one for one in ids if isinstance(one, str) and one.startswith("chatcmpl-")]
    assert len(named) == len(ids), f"expected ids that begin with chatcmpl-, seen {ids}"
    assert all(len(one) >= len("chatcmpl-") + 8 for one in named), (
        f"expected at least 8 characters after chatcmpl-, seen {ids}"
    )
    assert len(set(named)) == len(named), f"expected an id of its own for each, seen {ids}"


@pytest.mark.requirement("QVL-OAI-006")
def test_created(server: Endpoint, evidence: Evidence) -> None:
    """The time in an answer is that of the answer, by the server's own clock."""
    seen = []
    for last in (False, True):
        sent = time.monotonic()
        response = server.request("POST", CHAT, json=asking(server, COUNTING, max_tokens=1))
        took = time.monotonic() - sent
        keep(response, evidence)
        created = object_of(response).get("created")
        assert isinstance(created, int) and not isinstance(created, bool), (
            f"created: expected whole seconds since the epoch, seen {created!r}"
        )
        date = response.headers.get("date")
        now = parsedate_to_datetime(date).timestamp() if date else time.time()
        evidence.append("times", {"created": created, "now": now, "took": took})
        assert now - took - CLOCK_SLACK <= created <= now + CLOCK_SLACK, (
            f"created: expected about {now:.0f}, when it was answered "
            f"({'its Date header' if date else 'our clock'}), seen {created}"
        )
        seen.append(created)
        if not last:
            time.sleep(NEXT_SECOND)
    assert seen[0] < seen[1], f"created: expected a later time {NEXT_SECOND} s later, seen {seen}"


@pytest.mark.requirement("QVL-OAI-007")
def test_model_is_echoed(server: Endpoint, evidence: Evidence) -> None:
    """An answer names the model that was asked for, with and without an image."""
    (picture,) = generate("colour", 1)
    bodies = [
        chat_body(server, picture.openai_messages(), max_tokens=1),
        asking(server, COUNTING, max_tokens=1),
        asking(server, COUNTING, max_tokens=2, temperature=1.0, n=2),
    ]
    names = [answer.get("model") for answer in answers_of(server, bodies, evidence)]
    assert names == [server.model] * len(bodies), f"expected {server.model!r} each time, {names=}"


@pytest.mark.requirement("QVL-OAI-008")
def test_content_types(server: Endpoint, evidence: Evidence) -> None:
    """Bodies are announced as the JSON in UTF-8 that they are, errors too."""
    good = asking(server, COUNTING, max_tokens=1)
    responses = {
        "a chat answer": server.request("POST", CHAT, json=good),
        "the list of models": server.request("GET", "/v1/models"),
        "a refused chat": server.request("POST", CHAT, json=good | {"temperature": -1.0}),
        "malformed JSON": server.request(
            "POST", CHAT, data=b'{"model":', headers={"Content-Type": "application/json"}
        ),
    }
    for name, response in responses.items():
        headers = response.headers
        evidence.append("headers", {"of": name, "headers": dict(headers)})
        kind, _, parameters = headers.get("content-type", "").partition(";")
        assert kind.strip().lower() == "application/json", (
            f"{name}: content-type: expected application/json, seen {headers.get('content-type')!r}"
        )
        assert "charset" not in parameters or "utf-8" in parameters.lower(), (
            f"{name}: expected UTF-8, seen {parameters.strip()!r}"
        )
        length = headers.get("content-length")
        encoded = headers.get("content-encoding")
        assert encoded or length is None or int(length) == len(response.content), (
            f"{name}: content-length {length}, {len(response.content)} bytes seen"
        )
        response.content.decode("utf-8")


@pytest.mark.requirement("QVL-OAI-009")
def test_usage_adds_up(server: Endpoint, evidence: Evidence) -> None:
    """Token counts add up, also over several choices, and a prompt costs the same each time."""
    (picture,) = generate("colour", 1)
    bodies = [
        asking(server, COUNTING, max_tokens=6),
        asking(server, COUNTING, max_tokens=6, temperature=1.0, n=3, seed=1),
        asking(server, COUNTING, max_tokens=2),
        chat_body(server, picture.openai_messages(), max_tokens=2),
    ]
    answers = answers_of(server, bodies, evidence)
    for answer in answers:
        prompt, completion = (
            tokens_of(answer, "prompt_tokens"),
            tokens_of(answer, "completion_tokens"),
        )
        assert prompt >= 1 and completion >= 1, f"expected positive counts, {answer['usage']}"
        total = tokens_of(answer, "total_tokens")
        assert total == prompt + completion, (
            f"usage.total_tokens: expected {prompt} + {completion}, seen {total}"
        )
        details = answer["usage"].get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens") or 0
        assert 0 <= cached <= prompt, f"cached_tokens: expected 0 to {prompt}, seen {cached}"
    prompts = [tokens_of(answer, "prompt_tokens") for answer in answers[:3]]
    assert len(set(prompts)) == 1, f"one prompt, three requests: expected one count, seen {prompts}"
    written = tokens_of(answers[1], "completion_tokens")
    finished = [choice.get("finish_reason") for choice in choices_of(answers[1])]
    at_least = 6 * finished.count("length") + finished.count("stop")
    assert at_least <= written <= 6 * len(finished), (
        f"{finished=} with max_tokens=6: expected usage.completion_tokens of all choices, "
        f"{at_least} to {6 * len(finished)}, seen {written}"
    )
