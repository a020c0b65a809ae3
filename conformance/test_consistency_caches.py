"""Pictures and prompts that a cache could take for one another."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace

import pytest

from conformance.asking import ask_all, chat, chat_body, check_answers, object_of, tokens_of
from fixtures.bank import Item, Message, Picture, generate
from fixtures.bank.oracle import ImageIndex
from fixtures.bank.pictures import Shape
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.protocol.image_tokens import prompt_tokens_of_images

pytestmark = pytest.mark.consistency

TWINS = 7


def _uncompressed(picture: Picture) -> str:
    """A picture as a PNG whose length follows from its size alone."""
    file = io.BytesIO()
    picture.image().save(file, "PNG", compress_level=0)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _ask_twins(server: Endpoint, items: Sequence[Item]) -> list[str]:
    """Answers to items of one picture each, which travels uncompressed."""
    texts = []
    for item in items:
        messages = item.openai_messages()
        for message, its in zip(messages, item.messages, strict=True):
            if isinstance(message["content"], list):
                for part, source in zip(message["content"], its.parts, strict=True):
                    if isinstance(source, Picture):
                        part["image_url"]["url"] = _uncompressed(source)
        answer = chat(server, messages)
        texts.append(str(answer["choices"][0]["message"]["content"]))
    return texts


@pytest.mark.requirement("QVL-CON-006")
def test_twin_pictures(server: Endpoint, deployment: PlannedDeployment, evidence: Evidence) -> None:
    """Pictures that differ in a few pixels alone have each their own answer, in any order."""
    pool = generate("colour", 60, family=deployment.profile.family, sizes=(112, 112), seed=16)
    twins: list[tuple[Item, Item]] = []
    for number, item in enumerate(pool[::2]):
        other = pool[2 * number + 1]
        if other.answer != item.answer and len(twins) < TWINS:
            twins.append((item, _recoloured(item, other)))
    assert len(twins) == TWINS, f"{len(twins)} pairs of pictures instead of {TWINS}"
    for one, other in twins:
        lengths = {len(_uncompressed(it.pictures[0])) for it in (one, other)}
        assert len(lengths) == 1, f"twins must be of equal length, seen {lengths}"
    order = [it for one, other in twins for it in (one, other, one)]
    check_answers(deployment, "colour", order, _ask_twins(server, order), evidence)


def _recoloured(item: Item, like: Item) -> Item:
    """``item`` with its shape in the colour of ``like``'s, and so with its answer."""
    (picture,), (model,) = item.pictures, like.pictures
    (shape,), (its,) = picture.drawing, model.drawing
    assert isinstance(shape, Shape) and isinstance(its, Shape), f"{item.id} shows no one shape"
    changed = replace(picture, drawing=(replace(shape, colour=its.colour),))
    messages = tuple(
        Message(
            message.role,
            tuple(changed if isinstance(part, Picture) else part for part in message.parts),
        )
        for message in item.messages
    )
    return Item(f"{item.id}-twin", item.ability, messages, like.answer, like.check)


@pytest.mark.requirement("QVL-CON-007")
def test_same_pixels_in_other_sizes(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """The same pixels laid out in other widths count as what they are, one after the other."""
    from PIL import Image

    constants = deployment.profile.image
    sizes = [(300, 100), (200, 150), (600, 50), (50, 600), (1000, 30), (60, 500)]
    pixels = bytes(number % 251 for number in range(3 * 300 * 100))
    expected = {size: prompt_tokens_of_images([size], constants) for size in sizes}
    assert len(set(expected.values())) > 1, f"sizes of different counts are needed: {expected}"

    def prompt_tokens(size: tuple[int, int] | None) -> int:
        parts: list[dict[str, object]] = [{"type": "text", "text": "What colour is it?"}]
        if size is not None:
            file = io.BytesIO()
            Image.frombytes("RGB", size, pixels).save(file, "PNG")
            url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
            parts.insert(0, {"type": "image_url", "image_url": {"url": url}})
        answer = chat(server, [{"role": "user", "content": parts}], max_tokens=1)
        return tokens_of(answer, "prompt_tokens")

    without = prompt_tokens(None)
    wrong = []
    for size in [*sizes, *sizes[::-1]]:
        seen = prompt_tokens(size) - without
        evidence.append("sizes", {"size": size, "expected": expected[size], "seen": seen})
        if seen != expected[size]:
            wrong.append(f"{size[0]}x{size[1]}: expected {expected[size]}, seen {seen}")
    assert not wrong, "prompt tokens of the same pixels in other sizes\n  " + "\n  ".join(wrong)


@pytest.mark.requirement("QVL-CON-011")
def test_same_pictures_other_questions(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Questions that begin with the same pictures have each their own answer."""
    profile = deployment.profile
    images = min(deployment.deployment.images, 4)
    if images < 2:
        pytest.skip(f"the deployment allows {images} images in a prompt")
    items: list[Item] = []
    pool = generate(
        "which_image", 10, family=profile.family, images=images, sizes=(160, 224), seed=17
    )
    for item in pool:
        items += _rotations(item)
    answers = ask_all(server, items)
    check_answers(deployment, "which_image", items, answers, evidence)


def _rotations(item: Item) -> list[Item]:
    """The question as it is, and with its pictures turned by one: the same words and pictures."""
    (*before, user) = item.messages
    pictures: list[Picture] = [part for part in user.parts if isinstance(part, Picture)]
    (question,) = (part for part in user.parts if isinstance(part, str))
    turned: tuple[str | Picture, ...] = (*pictures[1:], pictures[0], question)
    place = int(item.answer.rsplit(" ", 1)[1])
    moved = (place - 2) % len(pictures) + 1
    return [
        item,
        Item(
            f"{item.id}-turned",
            item.ability,
            (*before, Message(user.role, turned)),
            f"Image {moved}",
            ImageIndex(moved),
        ),
    ]


@pytest.mark.requirement("QVL-CON-012")
def test_same_picture_other_processing(
    server: Endpoint,
    deployment: PlannedDeployment,
    capabilities: Capabilities,
    evidence: Evidence,
) -> None:
    """A picture that is asked for in another resolution is processed anew, and back again."""
    capabilities.require("mm_processor_kwargs")
    (item,) = generate("colour", 1, sizes=(200, 224), seed=18)
    constants = deployment.profile.image
    (picture,) = item.pictures
    smaller = 4 * (constants.patch_size * constants.merge_size) ** 2

    def prompt_tokens(**fields: object) -> int:
        body = chat_body(server, item.openai_messages(), max_tokens=1, **fields)
        response = server.request("POST", "/v1/chat/completions", json=body)
        assert response.status_code == 200, f"seen {response.status_code}: {response.text[:300]}"
        return tokens_of(object_of(response), "prompt_tokens")

    settings = {"min_pixels": smaller, "max_pixels": smaller}
    seen = [
        prompt_tokens(),
        prompt_tokens(mm_processor_kwargs=settings),
        prompt_tokens(),
        prompt_tokens(mm_processor_kwargs=settings),
    ]
    evidence.record(picture=[picture.width, picture.height], settings=settings, seen=seen)
    assert seen[0] == seen[2] and seen[1] == seen[3] and seen[1] < seen[0], (
        f"plain, smaller, plain, smaller: expected two counts in turn, seen {seen}"
    )
