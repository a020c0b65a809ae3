"""The stand-in's model: knows the bank's pictures by their pixels and answers in the bank's words.

Nothing of the plugin is used here: what a picture costs and what an answer must be is worked out
a second time, so that a mistake on one side shows.
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass

from PIL import Image

from fixtures.bank import (
    ABILITIES,
    PREFIX_SYSTEM,
    REFERENCE,
    UPPER_SYSTEM,
    Picture,
    format_box,
    from_pixels,
    generate,
    resized,
    tongyi_picture,
)
from fixtures.bank.pictures import Shape, Words
from fixtures.bank.questions import CHAT, WORDINGS

ITEMS = 8  # of each ability and seed: the most that a profile of the tests may ask for
SEEDS = (0, 1)
MOST_IMAGES = 6
DONT_KNOW = "I do not know."

_WHICH = re.compile(r"Which (?:of the images|image) shows an? (\w+)( shape)?\?")
_EARLIER = re.compile(r"hat (colour|shape|position) (?:is|was) the shape in the (\w+) image")
_BOX = re.compile(r"(?:Locate|Detect) the (\w+) (\w+)")
_ORDINALS = ("first", "second", "third", "fourth")
_PLACES = {(0, False): "left", (0, True): "right", (1, False): "top", (1, True): "bottom"}


@dataclass(frozen=True)
class Turn:
    """One message as the model gets it."""

    role: str
    parts: tuple[str | Image.Image, ...]

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> list[Image.Image]:
        return [part for part in self.parts if not isinstance(part, str)]


def pieces(text: str) -> list[str]:
    """Text in tokens; joined, they are the text again."""
    return re.findall(r"\s*(?:\w+|[^\w\s])", text)


class Model:
    """Answers conversations.

    Args:
        family: whose constants decide what a picture costs.
    """

    def __init__(self, family: str) -> None:
        self.family = family
        self.constants = REFERENCE[family]
        self._known: dict[str, Picture] = {}
        self._lock = threading.Lock()

    def prompt_tokens(self, turns: list[Turn]) -> int:
        """What the template, the text and the pictures of a conversation cost."""
        template = sum(3 + 2 for _ in turns) + 3
        text = sum(len(pieces(turn.text)) for turn in turns)
        images = [image for turn in turns for image in turn.images]
        return template + text + sum(self._image_tokens(image) for image in images)

    def answer(self, turns: list[Turn]) -> str:
        """What the model says."""
        system = turns[0].text if turns[0].role == "system" else ""
        images = [image for turn in turns for image in turn.images]
        text = self._reply(turns[-1].text, images)
        if system == UPPER_SYSTEM:
            text = text.upper()
        elif system == PREFIX_SYSTEM:
            text = f"Answer: {text}"
        return text

    def _image_tokens(self, image: Image.Image) -> int:
        width, height = image.size
        factor = self.constants.patch_size * self.constants.merge_size
        new_width, new_height = resized(width, height, self.constants)
        return 2 + (new_width // factor) * (new_height // factor)

    def _reply(self, question: str, images: list[Image.Image]) -> str:
        for asked, answer in CHAT:
            if question == asked:
                return answer
        pictures = [self._known_picture(image) for image in images]
        if match := _WHICH.search(question):
            ability = "colour" if match[2] else "shape"
            for index, picture in enumerate(pictures, start=1):
                if picture is not None and self._fact(ability, picture) == match[1]:
                    return f"Image {index}"
            return DONT_KNOW
        if match := _EARLIER.search(question):
            place = _ORDINALS.index(match[2])
            if place >= len(pictures) or pictures[place] is None:
                return DONT_KNOW
            return self._fact(match[1], pictures[place]).capitalize()
        picture = pictures[-1] if pictures else None
        if picture is None:
            return DONT_KNOW
        if match := _BOX.search(question):
            return self._box(picture, f"{match[1]} {match[2]}")
        for ability, wordings in WORDINGS.items():
            if question in wordings:
                return self._about(ability, picture)
        return DONT_KNOW

    def _about(self, ability: str, picture: Picture) -> str:
        shapes = [it for it in picture.drawing if isinstance(it, Shape)]
        written = " ".join(it.text for it in picture.drawing if isinstance(it, Words))
        if ability == "count":
            return str(len(shapes))
        if ability == "number":
            return written
        if ability == "text":
            return f"The text in the illustration is: {written}"
        if ability == "describe":
            return (
                f"The picture shows a single {shapes[0].label}, which is placed near the "
                f"{self._fact('position', picture)} of a plain light background."
            )
        return self._fact(ability, picture).capitalize()

    def _fact(self, ability: str, picture: Picture) -> str:
        shape = next(it for it in picture.drawing if isinstance(it, Shape))
        if ability == "colour":
            return shape.colour
        if ability == "shape":
            return shape.kind
        # How far from the middle, as a share of the way to the edge, along each axis.
        ways = (picture.width - shape.side, picture.height - shape.side)
        shares = [at / way - 0.5 for at, way in zip((shape.left, shape.top), ways, strict=True)]
        axis = 0 if abs(shares[0]) > abs(shares[1]) else 1
        return _PLACES[axis, shares[axis] > 0]

    def _box(self, picture: Picture, label: str) -> str:
        for shape in picture.drawing:
            if isinstance(shape, Shape) and shape.label == label:
                size = (picture.width, picture.height)
                return format_box(from_pixels(shape.box, self.family, *size), label)
        return DONT_KNOW

    def _known_picture(self, image: Image.Image) -> Picture | None:
        with self._lock:
            if not self._known:
                self._known = _pictures()
        return self._known.get(_digest(image))


def _digest(image: Image.Image) -> str:
    return hashlib.sha1(repr(image.size).encode() + image.tobytes()).hexdigest()


def _pictures() -> dict[str, Picture]:
    """Every picture that the suite may send, by its pixels."""
    items = [
        item
        for seed in SEEDS
        for ability in ABILITIES
        for item in generate(ability, ITEMS, seed=seed)
    ]
    for images in range(1, MOST_IMAGES + 1):
        items += generate("which_image", 1, images=images)
        items += generate("which_image", ITEMS, images=images, seed=2)
    found = {tongyi_picture(), *(picture for item in items for picture in item.pictures)}
    return {_digest(picture.image()): picture for picture in found}
