"""Clips: their limit, and where one is allowed, what is seen in it."""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import Any

import pytest

from conformance.asking import chat, chat_body, text_of
from conformance.picture_requests import (
    CHAT,
    check_refused,
    picture,
    prompt_tokens,
    shown,
    together,
    turn,
    words,
)
from conformance.plain_twins import check_like_plain
from conformance.serving_pictures import Page, serving
from fixtures.bank import generate
from fixtures.bank.encodings import Encoded, jpeg
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

pytestmark = pytest.mark.video

BAD_REQUEST = range(400, 401)
_FRAMES = 4
# Short of ten seconds at a frame a second, so that Qwen3-VL writes times of equal length.
FRAME_COUNTS = (4, 6, 8)


def clip(url: str) -> dict[str, Any]:
    """A content part with a video."""
    return {"type": "video_url", "video_url": {"url": url}}


def still(frame: Encoded, frames: int = _FRAMES) -> dict[str, Any]:
    """A clip in which a JPEG stands still: a data URL of frames, which vLLM takes for a video."""
    payload = base64.b64encode(frame.data).decode()
    return clip("data:video/jpeg;base64," + ",".join([payload] * frames))


def _beyond(deployment: PlannedDeployment) -> tuple[list[dict[str, Any]], str, dict[str, Any]]:
    """A request with one clip more than allowed, its name, and what a right refusal is."""
    limit = deployment.deployment.videos
    (item,) = generate("colour", 1)
    frame = jpeg(item.pictures[0].image())
    messages = [turn("user", *[still(frame)] * (limit + 1), words())]
    refusal = {"status": BAD_REQUEST, "naming": rf"\b{limit}\b"}
    return messages, f"{limit + 1} videos against a limit of {limit}", refusal


@pytest.mark.requirement("QVL-VID-001")
def test_beyond_the_limit(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """One clip too many is refused, and the server goes on."""
    messages, what, refusal = _beyond(deployment)
    check_refused(server, messages, what, evidence, **refusal)
    (item,) = generate("colour", 1)
    evidence.record(answer_afterwards=text_of(chat(server, item.openai_messages())))


@pytest.mark.requirement("QVL-VID-002")
def test_beyond_the_limit_streamed(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """A request for a stream is refused before there is a stream."""
    messages, what, refusal = _beyond(deployment)
    check_refused(server, messages, f"{what}, streamed", evidence, **refusal, stream=True)


@pytest.mark.requirement("QVL-VID-003")
def test_nothing_is_fetched_beyond_the_limit(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """No clip of a refused request is asked for."""
    (alone,) = generate("colour", 1)
    pages = {"/alone.png": Page(alone.pictures[0].png()), "/clip.mp4": Page(b"", "video/mp4")}
    with serving(server, pages) as pictures:
        parts = [clip(pictures.url("/clip.mp4"))] * (deployment.deployment.videos + 1)
        body = chat_body(server, [turn("user", *parts, words())], max_tokens=1)
        response = server.request("POST", CHAT, json=body)
        hits = pictures.asked
        evidence.record(status=response.status_code, body=response.text[:2000], hits=hits)
        assert not hits, (
            f"expected no request for a clip beyond the limit, answered with "
            f"{response.status_code}, seen {hits}"
        )
        # That nothing is seen says something only where something can be seen.
        server.request(
            "POST",
            CHAT,
            json=chat_body(
                server, shown(alone, [picture(pictures.url("/alone.png"))]), max_tokens=1
            ),
        )
        if pictures.asked != ["/alone.png"]:
            raise InconclusiveError(
                "the server does not fetch pictures from this host's loopback, so that it fetched "
                "no clip shows nothing; see QVL-PIC-029"
            )


@pytest.mark.requirement("QVL-VID-004")
def test_still_clip(server: Endpoint, capabilities: Capabilities, evidence: Evidence) -> None:
    """A clip in which nothing moves is answered as a picture of it."""
    capabilities.require("video")
    check_like_plain(server, [jpeg], evidence, part=still)


@pytest.mark.requirement("QVL-VID-005")
def test_every_frame_counts(
    server: Endpoint, capabilities: Capabilities, evidence: Evidence
) -> None:
    """Two more frames make one more step in time, with as many tokens as the one before."""
    capabilities.require("video")
    (item,) = generate("colour", 1)
    frame = jpeg(item.pictures[0].image())
    tokens = together(
        lambda frames: prompt_tokens(server, [turn("user", still(frame, frames), words())]),
        FRAME_COUNTS,
    )
    added = [more - less for less, more in pairwise(tokens)]
    evidence.record(frames=FRAME_COUNTS, prompt_tokens=tokens, added=added)
    assert len(set(added)) == 1 and added[0] > 1, (
        f"clips of {FRAME_COUNTS} frames: expected equally many more prompt tokens each time, "
        f"seen {tokens}, which is {added} more"
    )
