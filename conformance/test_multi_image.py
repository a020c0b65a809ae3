"""Several images in a prompt: limits, order, and exactly counted prompt tokens."""

from __future__ import annotations

import re

import pytest

from conformance.asking import (
    ask_all,
    chat,
    chat_body,
    check_answers,
    object_of,
    questions,
    text_of,
    tokens_of,
)
from conformance.tutorial import TUTORIAL_MESSAGES, expected_prompt_tokens
from fixtures.bank import Picture, data_url, generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.protocol.image_tokens import prompt_tokens_of_images

pytestmark = pytest.mark.multi_image

# Widths and heights in pixels: below and above the smallest area, both sides odd, ties when
# rounded to blocks of 28 and of 32, both orientations, and one photograph.
SIZES = (
    (56, 56),
    (64, 64),
    (100, 37),
    (37, 100),
    (112, 224),
    (224, 224),
    (297, 117),
    (336, 336),
    (421, 119),
    (640, 480),
    (1024, 768),
)


def _content(sizes: tuple[tuple[int, int], ...]) -> list[dict[str, object]]:
    parts: list[dict[str, object]] = [
        {
            "type": "image_url",
            "image_url": {"url": data_url(Picture(width, height, (210, 60, 60), ()))},
        }
        for width, height in sizes
    ]
    return [*parts, {"type": "text", "text": "What colour is it?"}]


def _prompt_tokens(server: Endpoint, *sizes: tuple[int, int]) -> int:
    messages = [{"role": "user", "content": _content(sizes)}]
    return tokens_of(chat(server, messages, max_tokens=1), "prompt_tokens")


@pytest.mark.smoke
@pytest.mark.requirement("QVL-IMG-001")
def test_tutorial_prompt_tokens(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """The tutorial's request costs what its text and picture predict."""
    seen = tokens_of(chat(server, TUTORIAL_MESSAGES, max_tokens=1), "prompt_tokens")
    expected = expected_prompt_tokens(deployment.profile)
    evidence.record(expected=expected, seen=seen)
    assert seen == expected, (
        f"usage.prompt_tokens: expected {expected} for the tutorial's 297x117 picture, seen {seen}"
    )


@pytest.mark.requirement("QVL-IMG-002")
def test_prompt_tokens_by_size(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Each size adds exactly the tokens the processor's arithmetic gives."""
    without = _prompt_tokens(server)
    wrong = []
    for size in SIZES:
        expected = prompt_tokens_of_images([size], deployment.profile.image)
        seen = _prompt_tokens(server, size) - without
        evidence.append("sizes", {"size": size, "expected": expected, "seen": seen})
        if seen != expected:
            wrong.append(f"{size[0]}x{size[1]}: expected {expected} more tokens, seen {seen}")
    assert not wrong, "usage.prompt_tokens beside the text-only request:\n" + "\n".join(wrong)


@pytest.mark.requirement("QVL-IMG-003")
def test_up_to_the_limit(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Prompts with up to the allowed number of images are answered right."""
    limit = deployment.deployment.images
    items = questions(deployment.profile, "which_image")
    # Prompts that are full, as far as the bank's questions stay easy: a dropped image shows.
    items += questions(deployment.profile, "which_image", images=min(limit, 4), seed=2)
    check_answers(deployment, "which_image", items, ask_all(server, items), evidence)
    (full,) = generate("which_image", 1, images=limit)
    text = text_of(chat(server, full.openai_messages()))
    evidence.record(limit=limit, answer_at_limit=text)


@pytest.mark.smoke
@pytest.mark.requirement("QVL-IMG-004")
def test_beyond_the_limit(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """One image too many is refused, in one turn and over turns, and the server goes on."""
    limit = deployment.deployment.images
    (within,) = generate("which_image", 1, images=limit)
    (beyond,) = generate("which_image", 1, images=limit + 1)
    messages = beyond.openai_messages()
    user = messages[-1]["content"]
    over_turns = [
        *messages[:-1],
        {"role": "user", "content": user[:1]},
        {"role": "assistant", "content": "I see it."},
        {"role": "user", "content": user[1:]},
    ]
    for name, refused in (("in one turn", messages), ("over two turns", over_turns)):
        response = server.request(
            "POST", "/v1/chat/completions", json=chat_body(server, refused, max_tokens=1)
        )
        evidence.append(
            "refusals", {"case": name, "status": response.status_code, "body": response.text[:2000]}
        )
        assert response.status_code == 400, (
            f"{limit + 1} images {name} against a limit of {limit}: expected 400, seen "
            f"{response.status_code}: {response.text[:300]}"
        )
        error = object_of(response).get("error")
        assert isinstance(error, dict), f"expected an error object, seen {response.text[:300]}"
        message = str(error.get("message"))
        assert re.search(rf"\b{limit}\b", message), (
            f"expected an error message that names the limit {limit}, seen {message!r}"
        )
        text = text_of(chat(server, within.openai_messages()))
        evidence.append("answers_afterwards", text)


@pytest.mark.requirement("QVL-IMG-005")
def test_every_image_counts(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Images of several sizes add up; the same image twice counts twice."""
    limit = deployment.deployment.images
    if limit < 2:
        pytest.skip(f"the deployment allows {limit} images in a prompt")
    without = _prompt_tokens(server)
    for sizes in (((64, 64), (64, 64)), ((224, 112), (112, 224)), (SIZES * 2)[3 : 3 + limit]):
        expected = prompt_tokens_of_images(sizes, deployment.profile.image)
        seen = _prompt_tokens(server, *sizes) - without
        evidence.append("sizes", {"sizes": sizes, "expected": expected, "seen": seen})
        assert seen == expected, f"{sizes}: expected {expected} more prompt tokens, seen {seen}"
