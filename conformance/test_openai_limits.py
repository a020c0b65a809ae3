"""Where an answer ends: at max_tokens, at a stop string, at the end of the context, by itself."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.asking import chat, choice_of, context_length, object_of, text_of, tokens_of
from conformance.exchanges import (
    CHAT,
    COUNTING,
    ENDLESS,
    answers_of,
    asking,
    post_all,
    require_endless,
)
from fixtures.bank import generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

pytestmark = pytest.mark.openai

# Filling a longer context would take minutes on a small host, and says nothing more.
LONGEST_CONTEXT = 40_960
ROOM = 96  # tokens left for the answer: more than the defaults of 16 and 64 that cut answers


@pytest.mark.requirement("QVL-OAI-002")
def test_max_tokens(server: Endpoint, evidence: Evidence) -> None:
    """An answer ends after the tokens allowed, and says so."""
    (item,) = generate("describe", 1)
    whole = chat(server, item.openai_messages())
    written = tokens_of(whole, "completion_tokens")
    assert written > 4, f"expected a description of more than 4 tokens, seen {text_of(whole)!r}"
    limits: tuple[dict[str, Any], ...] = (
        {"max_tokens": 4},
        {"max_tokens": None, "max_completion_tokens": 4},
        {"max_tokens": 7, "max_completion_tokens": 4},
    )
    bodies = [
        {key: value for key, value in body.items() if value is not None}
        for body in (
            {"model": server.model, "messages": item.openai_messages(), "temperature": 0.0} | limit
            for limit in limits
        )
    ]
    for limit, cut in zip(limits, answers_of(server, bodies, evidence), strict=True):
        seen = tokens_of(cut, "completion_tokens")
        assert seen == 4, f"{limit}: expected usage.completion_tokens 4, seen {seen}"
        reason = choice_of(cut).get("finish_reason")
        assert reason == "length", f"{limit}: expected finish_reason length, seen {reason!r}"
        assert text_of(whole).startswith(text_of(cut)), (
            f"{limit}: expected the beginning of {text_of(whole)!r}, seen {text_of(cut)!r}"
        )


@pytest.mark.requirement("QVL-OAI-010")
def test_finish_reason_of_a_whole_answer(server: Endpoint, evidence: Evidence) -> None:
    """An answer that ended by itself says stop, and names no stop string."""
    bodies = [
        asking(server, COUNTING, max_tokens=512),
        asking(server, "Say hello."),
    ]
    answers = answers_of(server, bodies, evidence)
    # A stop string that never comes must not be named either; whether one is taken, QVL-OAI-011
    # decides.
    (with_stop,) = post_all(server, [asking(server, "Say hello.", stop=["~never~"])])
    if with_stop.status_code == 200:
        answers.append(object_of(with_stop))
    for answer in answers:
        choice = choice_of(answer)
        reason = choice.get("finish_reason")
        assert reason == "stop", f"expected finish_reason stop, seen {str(choice)[:300]}"
        named = choice.get("stop_reason")
        assert named is None, f"expected no stop_reason, no stop string was met, seen {named!r}"


@pytest.mark.requirement("QVL-OAI-011")
def test_stop_strings(server: Endpoint, evidence: Evidence) -> None:
    """A stop string ends the text before it, also where it spans tokens or is one of several."""
    whole = text_of(chat(server, [{"role": "user", "content": COUNTING}]))
    assert len(whole) >= 60, f"expected an answer of 60 characters, seen {whole!r}"
    later, spanning, early = whole[40:42], whole[20:27], whole[10:16]
    cases: tuple[tuple[str | list[str], str], ...] = (
        (later, later),
        (spanning, spanning),
        ([spanning, early], early if whole.find(early) <= whole.find(spanning) else spanning),
        (["~never~", later], later),
    )
    bodies = [asking(server, COUNTING, stop=stop) for stop, _ in cases]
    for (stop, met), answer in zip(cases, answers_of(server, bodies, evidence), strict=True):
        expected = whole[: whole.find(met)]
        choice = choice_of(answer)
        message = choice.get("message")
        text = message.get("content") if isinstance(message, dict) else None
        assert text == expected, f"{stop=}: expected the text {expected!r} before it, seen {text!r}"
        reason = choice.get("finish_reason")
        assert reason == "stop", f"{stop=}: expected finish_reason stop, seen {reason!r}"
        # vLLM's extension; engines that lack it say nothing.
        named = choice.get("stop_reason")
        assert "stop_reason" not in choice or named == met, (
            f"{stop=}: expected stop_reason {met!r}, seen {named!r}"
        )


@pytest.mark.requirement("QVL-OAI-022")
def test_end_of_context(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Without a limit in the request, an answer ends where the context does."""
    limit = context_length(server, deployment)
    if not 256 <= limit <= LONGEST_CONTEXT:
        pytest.skip(f"a context of {limit} tokens is not filled here")
    require_endless(server)
    words = ["one " * repeats for repeats in (40, 80)]
    bodies = [asking(server, text, max_tokens=1) for text in words]
    fewer, more = (
        tokens_of(answer, "prompt_tokens") for answer in answers_of(server, bodies, evidence)
    )
    each = (more - fewer) / 40
    repeats = int((limit - ROOM - fewer) / each) + 40
    body = asking(server, "one " * repeats, **ENDLESS)
    del body["max_tokens"]
    response = server.request("POST", CHAT, json=body)
    assert response.status_code == 200, (
        f"a prompt of about {limit - ROOM} tokens in a context of {limit}: expected 200, seen "
        f"{response.status_code}: {response.text[:300]}"
    )
    answer = object_of(response)
    prompt, written = tokens_of(answer, "prompt_tokens"), tokens_of(answer, "completion_tokens")
    evidence.record(limit=limit, prompt=prompt, written=written)
    assert limit - 2 * ROOM <= prompt < limit, f"expected almost {limit} tokens, seen {prompt}"
    assert prompt + written == limit, (
        f"expected {limit - prompt} tokens up to the end of the context, seen {written}"
    )
