"""What a soak asks: requests of every kind and size, and questions asked again and again."""

from __future__ import annotations

import json
import random
from typing import Any

from conformance.asking import chat_body, questions
from conformance.malformed import content_case, field_ranges, json_bodies, picture_bytes
from fixtures.bank import Picture, data_url, generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile_soak import RequestKind, SoakLoad
from pytest_qwenvl.soak.load import SoakRequest
from pytest_qwenvl.soak.probes import Question

# Pictures of each size that are drawn once; a cache has room for all of them.
_PICTURES = 4
_SAID = ("What is in the picture?", "Describe it.", "What colour is it?", "How many are there?")
_PROBED = ("chat", "colour", "which_image")


class SoakRequests:
    """Draws the requests of a load; called with a kind and the load's own random numbers."""

    def __init__(self, server: Endpoint, planned: PlannedDeployment, load: SoakLoad) -> None:
        self._server = server
        self._load = load
        self._images = planned.deployment.images
        drawn = random.Random(load.seed)
        self._pictures = [_picture(size, drawn) for size in load.sizes for _ in range(_PICTURES)]
        self._chats = [item.openai_messages() for item in generate("chat", 12)]
        self._malformed = [
            case.body
            for case in (
                *json_bodies(server),
                *field_ranges(server),
                *picture_bytes(server),
                content_case(server, "an unknown part", {"type": "picture"}),
            )
            if case.body and not case.answered and case.content_type == "application/json"
        ]

    def __call__(self, kind: RequestKind, drawn: random.Random) -> SoakRequest:
        """The next request of a kind."""
        if kind == "malformed":
            return SoakRequest(kind, drawn.choice(self._malformed))
        fields: dict[str, Any] = {"max_tokens": self._load.output_tokens}
        count = 1
        if kind == "text":
            return self._request(kind, drawn.choice(self._chats), fields)
        if kind == "images":
            count = drawn.randint(min(2, self._images), self._images)
        elif kind == "too_many":
            count = self._images + 1
        elif kind in ("stream", "disconnect"):
            # With a picture or without one, as it comes.
            count = drawn.randint(0, 1)
            fields |= {"stream": True, "ignore_eos": True}
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": self._url(drawn)}} for _ in range(count)
        ]
        parts.append({"type": "text", "text": drawn.choice(_SAID)})
        request = self._request(kind, [{"role": "user", "content": parts}], fields)
        leave = drawn.randint(1, max(1, self._load.output_tokens // 2))
        return SoakRequest(kind, request.body, leave)

    def _request(
        self, kind: RequestKind, messages: list[dict[str, Any]], fields: dict[str, Any]
    ) -> SoakRequest:
        body = chat_body(self._server, messages, **fields)
        return SoakRequest(kind, json.dumps(body).encode())

    def _url(self, drawn: random.Random) -> str:
        if self._load.fresh_pictures:
            return _picture(drawn.choice(self._load.sizes), drawn)
        return drawn.choice(self._pictures)


def probes_of(server: Endpoint, planned: PlannedDeployment) -> list[Question]:
    """One question without a picture, one about a picture and one about several."""
    found = []
    for ability in _PROBED:
        item = questions(planned.profile, ability)[0]
        if len(item.pictures) <= planned.deployment.images:
            body = chat_body(server, item.openai_messages())
            found.append(Question(ability, body, item.accepts))
    return found


def _picture(size: list[int], drawn: random.Random) -> str:
    """A plain sheet of some colour: what is on it is no matter, its size and bytes are."""
    colour = drawn.randrange(256), drawn.randrange(256), drawn.randrange(256)
    return data_url(Picture(size[0], size[1], colour, ()))
