"""/v1/completions: the schema, lists of prompts, echo, token ids, log probabilities."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.asking import tokens_of
from conformance.exchanges import COUNTING, answers_of, check_findings, choices_of, post_all
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.body import validate
from pytest_qwenvl.protocol.completion_schema import read_completion
from pytest_qwenvl.protocol.findings import Deviation
from pytest_qwenvl.protocol.logprobs import legacy_findings

pytestmark = pytest.mark.openai

COMPLETIONS = "/v1/completions"
# In the family's own chat format: what follows is all but certain, so that two computations agree.
PROMPTS = tuple(
    f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    for question in (COUNTING, "Say hello.", "What is your name?")
)
COUNTING_PROMPT = PROMPTS[0]
# Token ids that stand for printable ASCII in Qwen's vocabulary and in the references'.
TOKEN_IDS = (40, 50, 60, 45, 55)


def _body(server: Endpoint, prompt: Any, **fields: Any) -> dict[str, Any]:
    return {
        "model": server.model,
        "prompt": prompt,
        "temperature": 0.0,
        "max_tokens": 8,
        **fields,
    }


def _text(choice: dict[str, Any]) -> str:
    text = choice.get("text")
    assert isinstance(text, str) and text, f"expected a text, seen {str(choice)[:300]}"
    return text


def _one(answer: dict[str, Any]) -> str:
    choices = choices_of(answer)
    assert len(choices) == 1, f"expected one choice, seen {str(choices)[:300]}"
    return _text(choices[0])


@pytest.mark.requirement("QVL-OAI-039")
def test_completion_schema(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Completions of one prompt and of several, with and without log probabilities, fit."""
    bodies = (
        _body(server, PROMPTS[0]),
        _body(server, list(PROMPTS)),
        _body(server, PROMPTS[1], logprobs=2, echo=True),
        _body(server, PROMPTS[1], n=2, temperature=1.0),
    )
    responses = post_all(server, bodies, COMPLETIONS)
    for response, choices in zip(responses, (1, len(PROMPTS), 1, 2), strict=True):
        assert response.status_code == 200, (
            f"POST {COMPLETIONS}: expected 200, seen {response.status_code}: {response.text[:300]}"
        )
        completion, findings = read_completion(
            response.content, deviations=deviations, model=server.model, choices=choices
        )
        check_findings(findings, response.text, evidence)
        assert completion is not None
        assert completion.id.startswith("cmpl-"), f"id: expected cmpl-…, seen {completion.id!r}"


@pytest.mark.requirement("QVL-OAI-040")
def test_several_prompts(server: Endpoint, evidence: Evidence) -> None:
    """Each prompt of a list gets the completion it gets alone."""
    bodies = [_body(server, prompt) for prompt in (*PROMPTS, list(PROMPTS))]
    *alone, together = answers_of(server, bodies, evidence, COMPLETIONS)
    expected = [_one(answer) for answer in alone]
    seen = [_text(choice) for choice in choices_of(together)]
    assert len(set(expected)) == len(expected), f"expected different completions, seen {expected}"
    assert seen == expected, f"prompts {PROMPTS}: expected {expected}, seen {seen}"


@pytest.mark.requirement("QVL-OAI-041")
def test_echo(server: Endpoint, evidence: Evidence) -> None:
    """The echoed prompt stands in front of the same completion."""
    bodies = [_body(server, prompt, echo=echo) for prompt in PROMPTS for echo in (False, True)]
    texts = [_one(answer) for answer in answers_of(server, bodies, evidence, COMPLETIONS)]
    for prompt, plain, echoed in zip(PROMPTS, texts[::2], texts[1::2], strict=True):
        assert echoed == prompt + plain, f"echo: expected {prompt + plain!r}, seen {echoed!r}"


@pytest.mark.requirement("QVL-OAI-042")
def test_default_max_tokens(server: Endpoint, evidence: Evidence) -> None:
    """Without a limit of its own a request gets 16 tokens."""
    body = _body(server, COUNTING_PROMPT)
    del body["max_tokens"]
    (answer,) = answers_of(server, [body], evidence, COMPLETIONS)
    reason = choices_of(answer)[0].get("finish_reason")
    written = tokens_of(answer, "completion_tokens")
    assert (written, reason) == (16, "length"), (
        f"expected 16 tokens and finish_reason length, seen {written} with {reason!r}"
    )


@pytest.mark.requirement("QVL-OAI-043")
def test_completion_logprobs(server: Endpoint, evidence: Evidence) -> None:
    """Four lists of one length that are the text, its offsets, and possible numbers."""
    from openai.types.completion_choice import Logprobs

    body = _body(server, COUNTING_PROMPT, max_tokens=24, logprobs=2)
    (answer,) = answers_of(server, [body], evidence, COMPLETIONS)
    (choice,) = choices_of(answer)
    logprobs = choice.get("logprobs")
    wanted = ("tokens", "token_logprobs", "text_offset", "top_logprobs")
    assert isinstance(logprobs, dict) and all(
        isinstance(logprobs.get(it), list) for it in wanted
    ), f"expected logprobs with the lists {wanted}, seen {str(logprobs)[:300]}"
    _, findings = validate(logprobs, Logprobs)
    assert not findings, "\n".join(str(finding) for finding in findings[:10])
    written = tokens_of(answer, "completion_tokens")
    assert len(logprobs["tokens"]) == written, (
        f"expected {written} tokens (usage.completion_tokens), seen {logprobs['tokens']}"
    )
    findings = legacy_findings(logprobs, _text(choice), top=2)
    assert not findings, "\n".join(str(finding) for finding in findings[:10])


@pytest.mark.requirement("QVL-OAI-044")
def test_token_ids(server: Endpoint, evidence: Evidence) -> None:
    """A prompt of token ids counts as it is long, and is echoed as its text."""
    echoed = _body(server, list(TOKEN_IDS), echo=True)
    (answer,) = answers_of(server, [echoed], evidence, COMPLETIONS)
    counted = tokens_of(answer, "prompt_tokens")
    assert counted == len(TOKEN_IDS), (
        f"usage.prompt_tokens: expected {len(TOKEN_IDS)}, the ids given, seen {counted}"
    )
    text = _one(answer)
    prompt = text[: len(TOKEN_IDS)]
    assert len(set(prompt)) == len(TOKEN_IDS) and prompt.isascii() and prompt.isprintable(), (
        f"expected {len(TOKEN_IDS)} different characters in front, one a token, seen {text!r}"
    )
