"""A played server that reads pictures like a viewer, or with one fault, and answers from pixels."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from PIL import Image, ImageChops, ImageOps
from requests import Response

from fixtures.bank import Item
from pytest_qwenvl.engines.endpoint import Endpoint

Look = Callable[[Image.Image], Image.Image]
_ALIKE = 60  # the most that a pixel of the right picture may be off: JPEG's rings, no more


def as_a_viewer(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGBA" or "transparency" in image.info:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _answer(status: int, body: Mapping[str, Any]) -> Response:
    response = Response()
    response.status_code = status
    response.headers["content-type"] = "application/json"
    response._content = json.dumps(body).encode()
    return response


def error(status: int, message: str) -> Response:
    return _answer(status, {"error": {"message": message, "type": "Any", "code": status}})


class Viewer(Endpoint):
    """Answers the items it knows by their pictures; ``look`` is how it reads a file.

    ``say`` turns the right answer into what is said; a picture it does not know is "Nothing.".
    """

    def __init__(
        self,
        items: Iterable[Item],
        views: Iterable[Callable[[Image.Image], Image.Image]],
        look: Look = as_a_viewer,
        say: Callable[[str], str] = lambda answer: answer,
    ) -> None:
        super().__init__("http://127.0.0.1:9", "played")
        self.look = look
        self.say = say
        self.known = [
            (item.messages[-1].parts[-1], view(item.pictures[0].image()), item.answer)
            for item in items
            for view in views
        ]

    def request(self, method: str, path: str, **sent: Any) -> Response:
        assert (method, path) == ("POST", "/v1/chat/completions")
        parts = sent["json"]["messages"][-1]["content"]
        url = next(part for part in parts if part["type"] == "image_url")["image_url"]["url"]
        question = next(part["text"] for part in parts if part["type"] == "text")
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
            seen = self.look(image)
        text = self.say(self._recognised(question, seen))
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return _answer(200, {"choices": [choice]})

    def _recognised(self, question: str, seen: Image.Image) -> str:
        for asked, image, answer in self.known:
            if (
                asked == question
                and image.size == seen.size
                and max(most for _, most in ImageChops.difference(image, seen).getextrema())
                <= _ALIKE
            ):
                return answer
        return "Nothing."
