"""Prompt tokens of images: exactly what their sizes and the processor's constants predict."""

from __future__ import annotations

import math

import pytest

from conformance.asking import chat, object_of, tokens_of
from conformance.picture_requests import (
    Size,
    check_refused,
    prompt_tokens,
    sheet,
    together,
    turn,
    words,
)
from conformance.tutorial import TUTORIAL_MESSAGES, expected_prompt_tokens
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
# From one pixel to the longest that the processors take, both orientations, and aspect ratios
# between, each of about a quarter of a megapixel at most.
EXTREMES = (
    (1, 1),
    (27, 27),
    (1, 200),
    (200, 1),
    (10, 2000),
    (2000, 10),
    (16, 800),
    (1500, 100),
    (90, 1440),
    (700, 350),
)
# How many times as large as the largest that is not reduced, and how many times as wide as high.
OVERSIZE = ((1.05, 1.0), (1.5, 0.4))


def _question(*sizes: Size) -> list[dict[str, object]]:
    return [turn("user", *(sheet(*size) for size in sizes), words())]


def _check_sizes(
    server: Endpoint, deployment: PlannedDeployment, sizes: tuple[Size, ...], evidence: Evidence
) -> None:
    """Each size alone adds exactly the tokens the processor's arithmetic gives."""
    without, *seen = together(
        lambda messages: prompt_tokens(server, messages),
        [_question(), *(_question(size) for size in sizes)],
    )
    wrong = []
    for size, tokens in zip(sizes, seen, strict=True):
        expected = prompt_tokens_of_images([size], deployment.profile.image)
        added = tokens - without
        evidence.append("sizes", {"size": size, "expected": expected, "seen": added})
        if added != expected:
            wrong.append(f"{size[0]}x{size[1]}: expected {expected} more tokens, seen {added}")
    assert not wrong, "usage.prompt_tokens beside the text-only request:\n" + "\n".join(wrong)


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
    """Everyday sizes add exactly the tokens predicted."""
    _check_sizes(server, deployment, SIZES, evidence)


@pytest.mark.requirement("QVL-IMG-015")
def test_prompt_tokens_of_extremes(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """So do the smallest pictures and the longest ones."""
    _check_sizes(server, deployment, EXTREMES, evidence)


@pytest.mark.requirement("QVL-IMG-005")
def test_every_image_counts(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Images of several sizes add up; the same image twice counts twice."""
    limit = deployment.deployment.images
    if limit < 2:
        pytest.skip(f"the deployment allows {limit} images in a prompt")
    without = prompt_tokens(server, _question())
    for sizes in (((64, 64), (64, 64)), ((224, 112), (112, 224)), (SIZES * 2)[3 : 3 + limit]):
        expected = prompt_tokens_of_images(sizes, deployment.profile.image)
        seen = prompt_tokens(server, _question(*sizes)) - without
        evidence.append("sizes", {"sizes": sizes, "expected": expected, "seen": seen})
        assert seen == expected, f"{sizes}: expected {expected} more prompt tokens, seen {seen}"


@pytest.mark.requirement("QVL-IMG-016")
def test_largest_pictures(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """A picture above max_pixels is reduced to it; where the context is shorter, refused."""
    constants = deployment.profile.image
    context = _context_length(server)
    without = prompt_tokens(server, _question())
    accepted = []
    for times, aspect in OVERSIZE:
        width = round(math.sqrt(times * constants.max_pixels * aspect))
        height = round(math.sqrt(times * constants.max_pixels / aspect))
        expected = prompt_tokens_of_images([(width, height)], constants)
        if context is None or expected + without < context:
            accepted.append((width, height))
            continue
        check_refused(
            server,
            _question((width, height)),
            f"a picture of {width}x{height} pixels, {expected} tokens, in {context}",
            evidence,
            status=range(400, 401),
            naming=rf"\b{context}\b",
        )
    if accepted:
        _check_sizes(server, deployment, tuple(accepted), evidence)


@pytest.mark.requirement("QVL-IMG-017")
def test_images_of_every_turn_count(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Images of earlier turns add their tokens to every later request."""
    if deployment.deployment.images < 2:
        pytest.skip(f"the deployment allows {deployment.deployment.images} images in a prompt")
    sizes = ((224, 112), (64, 64))

    def conversation(*images: dict[str, object]) -> list[dict[str, object]]:
        return [
            turn("user", *images[:1], words()),
            {"role": "assistant", "content": "Red."},
            turn("user", *images[1:], words()),
            {"role": "assistant", "content": "Red."},
            turn("user", words("Thank you.")),
        ]

    without = prompt_tokens(server, conversation())
    seen = prompt_tokens(server, conversation(*(sheet(*size) for size in sizes))) - without
    expected = prompt_tokens_of_images(sizes, deployment.profile.image)
    evidence.record(sizes=sizes, expected=expected, seen=seen)
    assert seen == expected, (
        f"{sizes} in two earlier turns: expected {expected} more prompt tokens, seen {seen}"
    )


def _context_length(server: Endpoint) -> int | None:
    """The context length that the server states of its model, where it states one."""
    listed = object_of(server.request("GET", "/v1/models")).get("data")
    for model in listed if isinstance(listed, list) else []:
        length = model.get("max_model_len") if isinstance(model, dict) else None
        if isinstance(length, int) and model.get("id") == server.model:
            return length
    return None
