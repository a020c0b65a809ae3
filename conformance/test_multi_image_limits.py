"""The limit of images in a prompt: counted over everything a request holds, before any work."""

from __future__ import annotations

import pytest

from conformance.picture_requests import (
    CHAT,
    check_refused,
    picture,
    shown,
    together,
    turn,
    words,
)
from conformance.serving_pictures import Page, serving
from fixtures.bank import generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

pytestmark = pytest.mark.multi_image

BAD_REQUEST = range(400, 401)


def _beyond(limit: int) -> tuple[list[dict[str, object]], dict[str, object]]:
    """The image parts and the question of a prompt with one image more than ``limit``."""
    (item,) = generate("which_image", 1, images=limit + 1)
    *pictures, question = item.openai_messages()[-1]["content"]
    return pictures, question


def _names(limit: int) -> str:
    return rf"\b{limit}\b"


@pytest.mark.requirement("QVL-IMG-006")
def test_beyond_the_limit_over_turns(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Images of earlier turns count, wherever the last one stands."""
    limit = deployment.deployment.images
    pictures, question = _beyond(limit)
    for earlier in {1, limit}:
        messages = [
            turn("user", *pictures[:earlier]),
            {"role": "assistant", "content": "I see it."},
            turn("user", *pictures[earlier:], question),
        ]
        what = f"{earlier} images in a turn and {limit + 1 - earlier} in the next"
        check_refused(server, messages, what, evidence, status=BAD_REQUEST, naming=_names(limit))


@pytest.mark.requirement("QVL-IMG-007")
def test_beyond_the_limit_streamed(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """A request for a stream is refused before there is a stream."""
    limit = deployment.deployment.images
    pictures, question = _beyond(limit)
    messages = [turn("user", *pictures, question)]
    check_refused(
        server,
        messages,
        f"{limit + 1} images, streamed",
        evidence,
        status=BAD_REQUEST,
        naming=_names(limit),
        stream=True,
    )


@pytest.mark.requirement("QVL-IMG-008")
def test_nothing_is_fetched_beyond_the_limit(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """No image of a refused request is asked for."""
    limit = deployment.deployment.images
    (item,) = generate("which_image", 1, images=limit + 1)
    pages = {f"/{place}.png": Page(it.png()) for place, it in enumerate(item.pictures)}
    (alone,) = generate("colour", 1)
    pages["/alone.png"] = Page(alone.pictures[0].png())
    with serving(server, pages) as pictures:
        parts = [picture(pictures.url(f"/{place}.png")) for place in range(limit + 1)]
        response = server.request(
            "POST",
            CHAT,
            json={"model": server.model, "messages": shown(item, parts), "max_tokens": 1},
        )
        hits = pictures.asked
        evidence.record(status=response.status_code, body=response.text[:2000], hits=hits)
        if response.status_code == 200:
            raise InconclusiveError(
                f"{limit + 1} images were not refused, so whatever was fetched was asked for; "
                "see QVL-IMG-004"
            )
        assert not hits, (
            f"expected no request for a picture of a request that is refused with "
            f"{response.status_code}, seen {hits}"
        )
        # That nothing is seen says something only where something can be seen.
        server.request(
            "POST",
            CHAT,
            json={
                "model": server.model,
                "messages": shown(alone, [picture(pictures.url("/alone.png"))]),
                "max_tokens": 1,
            },
        )
        if pictures.asked != ["/alone.png"]:
            raise InconclusiveError(
                "the server does not fetch pictures from this host's loopback, so that it fetched "
                "none shows nothing; see QVL-PIC-029"
            )


@pytest.mark.requirement("QVL-IMG-009")
@pytest.mark.parametrize("role", ["system", "assistant"])
def test_images_of_other_roles_count(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence, role: str
) -> None:
    """An image in a system or assistant message is refused, or counts like any other."""
    limit = deployment.deployment.images
    pictures, question = _beyond(limit)

    def conversation(images: int) -> list[dict[str, object]]:
        said = turn(role, pictures[0], words("You are a helpful assistant."))
        rest = turn("user", *pictures[1:images], question)
        return [said, rest] if role == "system" else [turn("user", words("Hi")), said, rest]

    what = f"{limit + 1} images, one of them in a message of the {role}"
    check_refused(server, conversation(limit + 1), what, evidence)


@pytest.mark.requirement("QVL-IMG-010")
def test_limit_beside_other_requests(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Full prompts are accepted and overfull ones refused, however many come at once."""
    limit = deployment.deployment.images
    full, over = (generate("which_image", 4, images=images) for images in (limit, limit + 1))

    def status(messages: list[dict[str, object]]) -> int:
        response = server.request(
            "POST",
            CHAT,
            json={"model": server.model, "messages": messages, "max_tokens": 1},
        )
        return response.status_code

    mixed = [item.openai_messages() for pair in zip(full, over, strict=True) for item in pair]
    seen = together(status, mixed)
    evidence.record(expected=[200, 400] * len(full), seen=seen)
    assert seen == [200, 400] * len(full), (
        f"{limit} and {limit + 1} images in turn, sent together: expected {[200, 400] * len(full)}"
        f", seen {seen}"
    )
