"""The tutorial's offline script: one LLM, images in, text out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from conformance.asking import ANSWER_TOKENS, check_answers, questions
from conformance.offline_answers import OfflineAnswers
from conformance.tutorial import (
    TUTORIAL_MESSAGES,
    TUTORIAL_TOKENS,
    expected_prompt_tokens,
    reads_tongyi_qwen,
)
from fixtures.bank import generate
from pytest_qwenvl.engines.offline import OfflineLLM
from pytest_qwenvl.errors import EngineError, OfflineRequestError
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

pytestmark = pytest.mark.offline


@pytest.fixture(autouse=True)
def _keep_answers(
    answer_book: OfflineAnswers, offline_llm: OfflineLLM, deployment: PlannedDeployment
) -> Iterator[None]:
    """While this LLM runs, note what the served model is compared with later."""
    yield
    # An LLM that cannot answer any more has failed its own tests; the comparison asks again.
    with contextlib.suppress(EngineError, OfflineRequestError):
        answer_book.record(deployment, offline_llm)


@pytest.mark.requirement("QVL-OFF-001")
def test_tutorial_script(
    offline_llm: OfflineLLM, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """The text in the tutorial's picture is read."""
    (answer,) = offline_llm.generate([TUTORIAL_MESSAGES], max_tokens=TUTORIAL_TOKENS)
    evidence.record(answer=answer.text, finish_reason=answer.finish_reason)
    assert reads_tongyi_qwen(answer.text), (
        f"expected an answer that reads TONGYI Qwen in the picture, seen {answer.text[:500]!r}"
    )
    assert answer.finish_reason == "stop", (
        f"expected finish_reason stop, seen {answer.finish_reason!r} after "
        f"{len(answer.token_ids)} tokens"
    )


@pytest.mark.requirement("QVL-OFF-002")
def test_understands_pictures(
    offline_llm: OfflineLLM, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Questions about one picture are answered right."""
    for ability in ("colour", "shape", "position", "count", "number"):
        items = questions(deployment.profile, ability)
        answers = offline_llm.generate(
            [item.openai_messages() for item in items], max_tokens=ANSWER_TOKENS
        )
        check_answers(deployment, ability, items, [it.text for it in answers], evidence)


@pytest.mark.requirement("QVL-OFF-003")
def test_tells_images_apart(
    offline_llm: OfflineLLM, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Which of several images has a property."""
    items = questions(deployment.profile, "which_image")
    answers = offline_llm.generate(
        [item.openai_messages() for item in items], max_tokens=ANSWER_TOKENS
    )
    check_answers(deployment, "which_image", items, [it.text for it in answers], evidence)


@pytest.mark.requirement("QVL-OFF-004")
def test_image_limit(
    offline_llm: OfflineLLM, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """One image too many is refused by name, and the engine goes on."""
    limit = deployment.deployment.images
    (within,) = generate("which_image", 1, images=limit)
    (beyond,) = generate("which_image", 1, images=limit + 1)
    (answer,) = offline_llm.generate([within.openai_messages()], max_tokens=1)
    evidence.record(limit=limit, answer_at_limit=answer.text)
    assert answer.token_ids, f"expected an answer to {limit} images, seen none"
    with pytest.raises(OfflineRequestError) as refused:
        offline_llm.generate([beyond.openai_messages()], max_tokens=1)
    evidence.record(refusal=str(refused.value))
    assert str(limit) in str(refused.value), (
        f"expected the refusal of {limit + 1} images to name the limit {limit}, "
        f"seen {str(refused.value)[:500]!r}"
    )
    (after,) = offline_llm.generate([within.openai_messages()], max_tokens=1)
    assert after.token_ids == answer.token_ids, (
        f"expected the answer of before the refusal, {answer.text!r}, seen {after.text!r}"
    )


@pytest.mark.requirement("QVL-OFF-005")
def test_prompt_tokens(
    offline_llm: OfflineLLM, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """The tutorial's picture costs what its size predicts."""
    (answer,) = offline_llm.generate([TUTORIAL_MESSAGES], max_tokens=1)
    expected = expected_prompt_tokens(deployment.profile)
    evidence.record(expected=expected, seen=answer.prompt_token_count)
    assert answer.prompt_token_count == expected, (
        f"expected {expected} prompt tokens for the tutorial's 297x117 picture, seen "
        f"{answer.prompt_token_count}"
    )
