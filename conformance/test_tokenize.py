"""/tokenize and /detokenize agree with each other and with what a chat is charged."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.asking import chat_body, object_of, tokens_of
from conformance.exchanges import COUNTING, answers_of
from fixtures.bank import generate
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence

pytestmark = pytest.mark.openai

TEXTS = (
    "The picture shows a single red circle.",
    "  two blanks, a tab\tand\n\na line between  ",
    "Größe, émigré, 日本語, 图像理解, 🙂",
    '{"bbox_2d": [1, 22, 333, 4444]}',
)


def _tokens(server: Endpoint, body: dict[str, Any], evidence: Evidence) -> list[int]:
    response = server.request("POST", "/tokenize", json={"model": server.model, **body})
    assert response.status_code == 200, (
        f"POST /tokenize: expected 200, seen {response.status_code}: {response.text[:300]}"
    )
    answer = object_of(response)
    tokens, count = answer.get("tokens"), answer.get("count")
    evidence.append("tokenized", {"count": count, "tokens": str(tokens)[:500]})
    assert isinstance(tokens, list) and tokens, f"expected tokens, seen {response.text[:300]}"
    assert all(type(token) is int and token >= 0 for token in tokens), f"seen {tokens[:20]}"
    assert count == len(tokens), f"count: expected {len(tokens)}, the tokens given, seen {count}"
    limit = answer.get("max_model_len")
    assert type(limit) is int and limit > 0, f"max_model_len: expected a number, seen {limit!r}"
    return tokens


@pytest.mark.requirement("QVL-OAI-048")
def test_tokenize_counts_as_charged(
    server: Endpoint, capabilities: Capabilities, evidence: Evidence
) -> None:
    """Conversations, with a picture and without, have the tokens that they are charged."""
    capabilities.require("tokenize")
    conversations = [
        [{"role": "user", "content": COUNTING}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": TEXTS[2]}],
        generate("colour", 1)[0].openai_messages(),
        generate("which_image", 1, images=2)[0].openai_messages(),
    ]
    bodies = [chat_body(server, messages, max_tokens=1) for messages in conversations]
    answers = answers_of(server, bodies, evidence)
    for messages, answer in zip(conversations, answers, strict=True):
        counted = len(_tokens(server, {"messages": messages}, evidence))
        charged = tokens_of(answer, "prompt_tokens")
        assert counted == charged, (
            f"{str(messages)[:200]}: expected {charged} tokens, its usage.prompt_tokens, seen "
            f"{counted}"
        )


@pytest.mark.requirement("QVL-OAI-049")
def test_detokenize_gives_back(
    server: Endpoint, capabilities: Capabilities, evidence: Evidence
) -> None:
    """A text survives its tokens: blanks, other alphabets, emoji."""
    capabilities.require("tokenize", "detokenize")
    for text in TEXTS:
        tokens = _tokens(server, {"prompt": text, "add_special_tokens": False}, evidence)
        response = server.request(
            "POST", "/detokenize", json={"model": server.model, "tokens": tokens}
        )
        assert response.status_code == 200, (
            f"POST /detokenize: expected 200, seen {response.status_code}: {response.text[:300]}"
        )
        seen = object_of(response).get("prompt")
        assert seen == text, f"expected {text!r}, seen {seen!r}"
