"""Pictures in every common file format are seen as their plain RGB twins are."""

from __future__ import annotations

import pytest

from conformance.asking import ask_all, chat, check_answers, questions, text_of
from conformance.picture_requests import picture, shown, together
from conformance.plain_twins import check_like_plain, require_understood
from fixtures.bank import Item, encodings
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

pytestmark = pytest.mark.images

MIXED = (
    encodings.jpeg,
    encodings.gif,
    encodings.lossless_webp,
    encodings.bmp,
    encodings.palette_png,
    encodings.interlaced_png,
)


@pytest.mark.smoke
@pytest.mark.requirement("QVL-PIC-001")
def test_jpeg(server: Endpoint, evidence: Evidence) -> None:
    """A baseline JPEG is seen as the pixels it decodes to."""
    check_like_plain(server, [encodings.jpeg], evidence)


@pytest.mark.requirement("QVL-PIC-002")
def test_progressive_jpeg(server: Endpoint, evidence: Evidence) -> None:
    """All scans of a progressive JPEG are read."""
    check_like_plain(server, [encodings.progressive_jpeg], evidence)


@pytest.mark.requirement("QVL-PIC-003")
def test_webp(server: Endpoint, evidence: Evidence) -> None:
    """WebP, lossless and lossy, is seen as its pixels."""
    check_like_plain(server, [encodings.lossless_webp, encodings.lossy_webp], evidence)


@pytest.mark.requirement("QVL-PIC-004")
def test_gif(server: Endpoint, evidence: Evidence) -> None:
    """A GIF is seen as its pixels."""
    check_like_plain(server, [encodings.gif], evidence)


@pytest.mark.requirement("QVL-PIC-005")
def test_animated_gif(server: Endpoint, evidence: Evidence) -> None:
    """Of an animation the first frame is seen."""
    check_like_plain(server, [encodings.animated_gif], evidence)


@pytest.mark.requirement("QVL-PIC-006")
def test_bmp(server: Endpoint, evidence: Evidence) -> None:
    """A Windows bitmap is seen as its pixels."""
    check_like_plain(server, [encodings.bmp], evidence)


@pytest.mark.requirement("QVL-PIC-007")
def test_tiff(server: Endpoint, evidence: Evidence) -> None:
    """A TIFF is seen as its pixels."""
    check_like_plain(server, [encodings.tiff], evidence)


@pytest.mark.requirement("QVL-PIC-008")
def test_interlaced_png(server: Endpoint, evidence: Evidence) -> None:
    """All passes of an interlaced PNG are read."""
    check_like_plain(server, [encodings.interlaced_png], evidence)


@pytest.mark.requirement("QVL-PIC-009")
def test_formats_in_one_prompt(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Images of one prompt may each have a format of their own."""
    limit = deployment.deployment.images
    if limit < 2:
        pytest.skip(f"the deployment allows {limit} images in a prompt")
    items = questions(deployment.profile, "which_image", images=min(limit, 4), seed=5)
    plain = ask_all(server, items)
    require_understood(
        sum(item.accepts(text) for item, text in zip(items, plain, strict=True)), len(items)
    )

    def ask(case: tuple[int, Item]) -> str:
        index, item = case
        files = [
            MIXED[(index + place) % len(MIXED)](its.image())
            for place, its in enumerate(item.pictures)
        ]
        return text_of(chat(server, shown(item, [picture(it.url()) for it in files])))

    check_answers(deployment, "which_image", items, together(ask, enumerate(items)), evidence)
