"""The smallest, longest and largest pictures, and pictures that only their shape tells apart."""

from __future__ import annotations

import pytest

from conformance.asking import chat, text_of
from conformance.picture_requests import (
    QUESTION,
    check_refused,
    picture,
    sheet,
    shown,
    together,
    turn,
    words,
)
from fixtures.bank import Item, encodings, generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.image_tokens import MAXIMUM_ASPECT_RATIO

pytestmark = pytest.mark.images

# Widths and heights in pixels, each with a side below the blocks of 28 and 32 that pictures are
# resized to.
TINY = ((1, 1), (1, 2), (2, 1), (27, 31))
LONGEST = ((1, MAXIMUM_ASPECT_RATIO), (MAXIMUM_ASPECT_RATIO, 1))
TOO_LONG = (
    (1, MAXIMUM_ASPECT_RATIO + 1),
    (MAXIMUM_ASPECT_RATIO + 1, 1),
    (10, 10 * MAXIMUM_ASPECT_RATIO + 1),
)
_RESHAPED = 12


def _answered(server: Endpoint, sizes: tuple[tuple[int, int], ...], evidence: Evidence) -> None:
    """Each size gets some answer; what is seen on so small a sheet is nobody's promise."""

    def ask(size: tuple[int, int]) -> str:
        return text_of(chat(server, [turn("user", sheet(*size), words())]))

    answers = together(ask, sizes)
    evidence.record(question=QUESTION, answers=dict(zip(map(str, sizes), answers, strict=True)))
    _goes_on(server)


def _goes_on(server: Endpoint) -> None:
    """The next good request is answered."""
    (item,) = generate("colour", 1)
    text_of(chat(server, item.openai_messages()))


@pytest.mark.requirement("QVL-PIC-019")
def test_tiny(server: Endpoint, evidence: Evidence) -> None:
    """Pictures of a few pixels are answered."""
    _answered(server, TINY, evidence)


@pytest.mark.requirement("QVL-PIC-020")
def test_longest(server: Endpoint, evidence: Evidence) -> None:
    """The longest aspect ratios that the processors take are answered."""
    _answered(server, LONGEST, evidence)


@pytest.mark.requirement("QVL-PIC-021")
def test_too_long(server: Endpoint, evidence: Evidence) -> None:
    """Longer ones are refused, and the server goes on."""
    for width, height in TOO_LONG:
        messages = [turn("user", sheet(width, height), words())]
        check_refused(server, messages, f"a picture of {width}x{height} pixels", evidence)
    _goes_on(server)


@pytest.mark.requirement("QVL-PIC-022")
def test_same_bytes_in_another_shape(server: Endpoint, evidence: Evidence) -> None:
    """A picture is not taken for another one that has the same bytes of pixels."""
    items = [
        item
        for item in generate("position", 24, seed=7)
        if item.pictures[0].width != item.pictures[0].height
    ][:_RESHAPED]

    def ask(item: Item) -> tuple[str, str, str]:
        image = item.pictures[0].image()
        twin = encodings.reshaped(image)
        # All but the same as the twin, and in no cache.
        touched = twin.copy()
        red, *rest = encodings.corner(twin)
        touched.putpixel((0, 0), (red ^ 1, *rest))
        # One after the other: a request finds what the one before it left in a cache.
        first, second, third = (
            text_of(chat(server, shown(item, [picture(encodings.png(it).url())])))
            for it in (image, twin, touched)
        )
        return first, second, third

    telling = confused = 0
    for item, (first, second, third) in zip(items, together(ask, items), strict=True):
        evidence.append(
            "answers", {"item": item.id, "first": first, "twin": second, "touched": third}
        )
        telling += third != first
        confused += second == first != third
    if telling < _RESHAPED // 4:
        raise InconclusiveError(
            f"only {telling} of {len(items)} pictures get another answer when they are reshaped, "
            "so equal answers show no confusion"
        )
    assert 2 * confused < telling, (
        f"{confused} of {telling} reshaped pictures got the answer to the picture that was sent "
        "before them and has the same bytes; with one bit changed they get another answer"
    )
