from __future__ import annotations

from typing import Any

import pytest
from requests import Response

from conformance.picture_requests import check_refused, picture, shown, together, turn, words
from fixtures.bank import generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from tests.conformance.played_viewers import error


class Refusing(Endpoint):
    """Gives one answer to everything, and keeps what was sent."""

    def __init__(self, response: Response) -> None:
        super().__init__("http://127.0.0.1:9", "played")
        self.response = response
        self.sent: list[Any] = []

    def request(self, method: str, path: str, **sent: Any) -> Response:
        self.sent.append(sent["json"])
        return self.response


def answer(status: int, body: str, content_type: str = "application/json") -> Response:
    response = Response()
    response.status_code = status
    response.headers["content-type"] = content_type
    response._content = body.encode()
    return response


MESSAGES = [turn("user", words())]
EXACTLY_400 = {"status": range(400, 401), "naming": r"\b4\b"}


def test_a_refusal_that_names_the_limit_is_right():
    server, evidence = Refusing(error(400, "At most 4 images")), Evidence()
    check_refused(server, MESSAGES, "five", evidence, **EXACTLY_400, stream=True)
    assert server.sent[0]["stream"] is True
    assert evidence.values["refusals"][0]["status"] == 400


@pytest.mark.parametrize(
    ("response", "complaint"),
    [
        (answer(200, '{"choices": []}'), "expected a refusal with 400, seen 200"),
        (error(500, "At most 4 images"), "seen 500"),
        (error(422, "At most 4 images"), "seen 422"),
        (error(400, "At most 14 images"), "matches"),
        (answer(400, '{"error": "At most 4 images"}'), "an error object"),
        (answer(400, '{"error": {}}'), "an error object"),
        (answer(400, "[4]"), "an error object"),
        (answer(400, "data: 4", "text/event-stream"), "application/json"),
    ],
)
def test_other_answers_are_not(response, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_refused(Refusing(response), MESSAGES, "five", Evidence(), **EXACTLY_400)


def test_any_4xx_will_do_where_none_is_named():
    check_refused(Refusing(error(422, "no")), MESSAGES, "it", Evidence())
    with pytest.raises(AssertionError, match="400 to 499, seen 501"):
        check_refused(Refusing(error(501, "no")), MESSAGES, "it", Evidence())


def test_other_parts_take_the_places_of_the_pictures():
    (item,) = generate("earlier_turn", 1, images=2)
    parts = [picture("data:one"), picture("data:two")]
    messages = shown(item, parts)
    seen = [
        part
        for message in messages
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image_url"
    ]
    assert seen == parts
    assert [it["role"] for it in messages] == [it.role for it in item.messages]
    with pytest.raises(AssertionError, match="fewer than 3 pictures"):
        shown(item, [*parts, picture("data:three")])


def test_answers_come_in_the_order_of_the_cases():
    assert together(lambda case: case * 2, range(20)) == [2 * it for it in range(20)]
