"""What a request may look like: shapes of content, roles, fields that a server does not know."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.asking import chat_body, text_of, tokens_of
from conformance.exchanges import COUNTING, answers_of, asking, keep, post_all
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence

pytestmark = pytest.mark.openai


def _parts(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text} for text in texts]


@pytest.mark.requirement("QVL-OAI-023")
def test_shapes_of_text(server: Endpoint, evidence: Evidence) -> None:
    """A text says the same as a string, as one part, and in two parts."""
    bodies = [
        chat_body(server, [{"role": "user", "content": content}], max_tokens=16)
        for content in (
            COUNTING,
            _parts(COUNTING),
            _parts("Name three colours. ", COUNTING),
            "Name three colours. ",
        )
    ]
    plain, one_part, two_parts, first_part = answers_of(server, bodies, evidence)
    assert text_of(one_part) == text_of(plain), (
        f"one text part: expected {text_of(plain)!r}, seen {text_of(one_part)!r}"
    )
    costs = [tokens_of(it, "prompt_tokens") for it in (plain, one_part, two_parts, first_part)]
    assert costs[0] == costs[1], (
        f"a text as a string and as a part: expected the same prompt_tokens, seen {costs[:2]}"
    )
    # Template and all, each part alone costs more than its share of the two together.
    assert max(costs[0], costs[3]) < costs[2] < costs[0] + costs[3], (
        f"two parts: expected more prompt_tokens than either has, less than both, seen {costs}"
    )


@pytest.mark.requirement("QVL-OAI-024")
def test_roles(server: Endpoint, evidence: Evidence) -> None:
    """The schema's roles are taken; one that nobody knows does not break the server."""
    question = {"role": "user", "content": COUNTING}
    conversations: dict[str, list[dict[str, Any]]] = {
        "system": [{"role": "system", "content": "Be brief."}, question],
        "developer": [{"role": "developer", "content": "Be brief."}, question],
        "assistant": [
            {"role": "user", "content": "Say hello."},
            {"role": "assistant", "content": "Hello!"},
            question,
        ],
        "a named user": [question | {"name": "Ada"}],
        "wizard": [{"role": "wizard", "content": "Be brief."}, question],
    }
    bodies = [chat_body(server, messages, max_tokens=4) for messages in conversations.values()]
    for name, response in zip(conversations, post_all(server, bodies), strict=True):
        keep(response, evidence)
        status = response.status_code
        allowed = status == 200 or (name == "wizard" and 400 <= status < 500)
        assert allowed, (
            f"a conversation with {name}: expected 200"
            f"{' or 4xx' if name == 'wizard' else ''}, seen {status}: {response.text[:300]}"
        )
        if status == 200:
            text_of(response.json())


@pytest.mark.requirement("QVL-OAI-025")
def test_fields_without_effect(server: Endpoint, evidence: Evidence) -> None:
    """Fields that only describe a request change nothing; an unknown one breaks nothing."""
    body = asking(server, COUNTING, max_tokens=12)
    bodies = [
        body,
        body | {"user": "user-1"},
        body | {"metadata": {"purpose": "conformance"}, "store": False},
        body | {"no_such_field": {"nested": [1, None]}},
    ]
    *good, unknown = post_all(server, bodies)
    texts = []
    for response in good:
        keep(response, evidence)
        assert response.status_code == 200, (
            f"expected 200 with user, metadata and store, seen {response.status_code}: "
            f"{response.text[:300]}"
        )
        texts.append(text_of(response.json()))
    assert len(set(texts)) == 1, f"expected the same answer with and without them, seen {texts}"
    keep(unknown, evidence)
    if unknown.status_code == 200:
        seen = text_of(unknown.json())
        assert seen == texts[0], (
            f"an unknown field: expected {texts[0]!r} as without, seen {seen!r}"
        )
    else:
        assert 400 <= unknown.status_code < 500, (
            f"an unknown field: expected 200 or 4xx, seen {unknown.status_code}: "
            f"{unknown.text[:300]}"
        )
