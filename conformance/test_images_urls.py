"""Where a picture comes from, and how its address is written, changes nothing that is seen."""

from __future__ import annotations

import base64
import uuid
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from conformance.asking import chat, chat_body, check_answers, questions, text_of
from conformance.picture_requests import CHAT, check_refused, picture, shown, together
from conformance.plain_twins import COLOURS, Part, check_like_plain, require_understood
from conformance.serving_pictures import Page, serving
from fixtures.bank import Item, encodings
from fixtures.bank.encodings import Encoded
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

pytestmark = pytest.mark.images

_IN_ORDER = 4  # items: each keeps a picture open until the one after it is answered
_LINE = 76  # characters in a line of MIME's base64
# A path and a query that any careless join, split or decoding would change.
_PATH = "/a b/picture é.png"
_TARGET = "/a%20b/picture%20%C3%A9.png?sig=x%3Dy&part=1&part=2&empty="


def _payload(file: Encoded) -> str:
    return base64.b64encode(file.data).decode()


@pytest.mark.requirement("QVL-PIC-023")
@pytest.mark.parametrize("media_type", ["image/jpeg", "application/octet-stream"])
def test_wrong_media_type(server: Endpoint, evidence: Evidence, media_type: str) -> None:
    """What a data URL says of its bytes does not matter."""
    check_like_plain(
        server,
        [encodings.png, encodings.lossless_webp],
        evidence,
        part=lambda file: picture(file.url(media_type)),
    )


@pytest.mark.requirement("QVL-PIC-024")
def test_data_url_forms(server: Endpoint, evidence: Evidence) -> None:
    """Parameters, capitals and a missing media type are part of the form."""

    def prefixed(prefix: str) -> Part:
        return lambda file: picture(prefix + _payload(file))

    for prefix in ("data:image/png;name=a.png;base64,", "DATA:IMAGE/PNG;base64,", "data:;base64,"):
        check_like_plain(
            server, [encodings.png], evidence, items=COLOURS[::2], part=prefixed(prefix)
        )


def _like_plain_or_refused(server: Endpoint, part: Any, what: str, evidence: Evidence) -> None:
    """Either the picture is read as it is, or the request is refused."""
    first = encodings.png(COLOURS[0].pictures[0].image())
    response = server.request(
        "POST", CHAT, json=chat_body(server, shown(COLOURS[0], [part(first)]), max_tokens=1)
    )
    if response.status_code == 200:
        check_like_plain(server, [encodings.png], evidence, items=COLOURS[::2], part=part)
    else:
        check_refused(server, shown(COLOURS[0], [part(first)]), what, evidence)


@pytest.mark.requirement("QVL-PIC-025")
def test_data_url_in_lines(server: Endpoint, evidence: Evidence) -> None:
    """Base64 broken into lines is read, or refused."""

    def in_lines(file: Encoded) -> dict[str, Any]:
        payload = _payload(file)
        lines = (payload[at : at + _LINE] for at in range(0, len(payload), _LINE))
        return picture("data:image/png;base64," + "\r\n".join(lines))

    _like_plain_or_refused(server, in_lines, "a data URL in lines", evidence)


@pytest.mark.requirement("QVL-PIC-026")
def test_url_as_text(server: Endpoint, evidence: Evidence) -> None:
    """An image_url that is a text instead of an object is read, or refused."""

    def as_text(file: Encoded) -> dict[str, Any]:
        return {"type": "image_url", "image_url": file.url()}

    _like_plain_or_refused(server, as_text, "image_url as a text", evidence)


@pytest.mark.requirement("QVL-PIC-027")
def test_detail(server: Endpoint, evidence: Evidence) -> None:
    """Every level of detail is accepted; `auto` is what no level is."""

    def with_detail(level: str) -> Part:
        return lambda file: picture(file.url(), detail=level)

    check_like_plain(server, [encodings.png], evidence, part=with_detail("auto"))
    for level in ("low", "high"):
        item = COLOURS[0]
        file = encodings.png(item.pictures[0].image())
        answer = text_of(chat(server, shown(item, [with_detail(level)(file)])))
        evidence.append("details", {"detail": level, "item": item.id, "seen": answer})


@pytest.mark.requirement("QVL-PIC-028")
def test_uuid(server: Endpoint, evidence: Evidence) -> None:
    """A picture with an id of its client's is seen; an id that nobody knows is refused."""

    def named(file: Encoded) -> dict[str, Any]:
        # A new id each time: for one that it knows, the server need not look at the picture.
        return {**picture(file.url()), "uuid": f"qwenvl-{uuid.uuid4()}"}

    check_like_plain(server, [encodings.png], evidence, part=named)
    unknown = {"type": "image_url", "image_url": None, "uuid": "qwenvl-never-sent"}
    check_refused(server, shown(COLOURS[0], [unknown]), "an unknown uuid alone", evidence)


def _fetched(
    server: Endpoint, items: tuple[Item, ...], media_type: str, evidence: Evidence
) -> None:
    """Pictures behind http URLs are fetched and answered as the same bytes in data URLs."""
    pages = {
        f"/{item.id}": Page(encodings.png(item.pictures[0].image()).data, media_type)
        for item in items
    }
    with serving(server, pages) as pictures:

        def ask(item: Item) -> tuple[str, str]:
            file = encodings.png(item.pictures[0].image())
            return (
                text_of(chat(server, shown(item, [picture(pictures.url(f"/{item.id}"))]))),
                text_of(chat(server, shown(item, [picture(file.url())]))),
            )

        answers = together(ask, items)
        asked = sorted(pictures.asked)
    evidence.record(asked=asked, answers=answers)
    missing = sorted(set(pages) - set(asked))
    assert not missing, f"expected the server to fetch {missing}, seen requests for {asked}"
    different = [
        f"  {item.id}: {data!r} for the data URL, {http!r} for the http URL"
        for item, (http, data) in zip(items, answers, strict=True)
        if http != data and not (item.accepts(http) and item.accepts(data))
    ]
    assert not different, "expected the same answers to the same bytes:\n" + "\n".join(different)
    right = sum(item.accepts(data) for item, (_, data) in zip(items, answers, strict=True))
    require_understood(right, len(items))


@pytest.mark.requirement("QVL-PIC-029")
def test_http_url(server: Endpoint, evidence: Evidence) -> None:
    """A picture behind an http URL is seen as one in a data URL."""
    _fetched(server, COLOURS, "image/png", evidence)


@pytest.mark.requirement("QVL-PIC-030")
def test_http_content_type(server: Endpoint, evidence: Evidence) -> None:
    """What the Content-Type says of a picture does not matter."""
    _fetched(server, COLOURS[::2], "application/octet-stream", evidence)


@pytest.mark.requirement("QVL-PIC-031")
def test_http_url_as_written(server: Endpoint, evidence: Evidence) -> None:
    """The path and the query that a URL names are those that are asked for."""
    item = COLOURS[0]
    page = Page(encodings.png(item.pictures[0].image()).data)
    with serving(server, {_PATH: page}) as pictures:
        chat(server, shown(item, [picture(pictures.url(_TARGET))]), max_tokens=1)
        asked = pictures.asked
    evidence.record(url=_TARGET, asked=asked)

    def meaning(target: str) -> tuple[str, list[tuple[str, str]]]:
        parts = urlsplit(target)
        return unquote(parts.path), parse_qsl(parts.query, keep_blank_values=True)

    assert asked and all(meaning(it) == meaning(_TARGET) for it in asked), (
        f"expected a request for {_TARGET}, seen {asked}"
    )


@pytest.mark.requirement("QVL-PIC-032")
def test_http_url_changes(server: Endpoint, evidence: Evidence) -> None:
    """What lies behind a URL now is seen, not what lay there before."""
    first, second = COLOURS[:2]
    with serving(server, {}) as pictures:
        answers = []
        for item in (first, second):
            data = encodings.png(item.pictures[0].image()).data
            pictures.pages["/now.png"] = Page(data)
            messages = shown(item, [picture(pictures.url("/now.png"))])
            plain = shown(item, [picture(encodings.png(item.pictures[0].image()).url())])
            answers.append((text_of(chat(server, messages)), text_of(chat(server, plain))))
    evidence.record(items=[first.id, second.id], answers=answers)
    (_, _), (seen, twin) = answers
    assert seen == twin or (second.accepts(seen) and second.accepts(twin)), (
        f"{second.id}: expected {twin!r}, the answer to what the URL serves now, seen {seen!r}"
    )
    require_understood(second.accepts(twin), 1)


@pytest.mark.requirement("QVL-PIC-033")
def test_slow_urls_keep_their_order(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Images whose URLs answer last to first are told apart in the order of the prompt."""
    limit = deployment.deployment.images
    if limit < 2:
        pytest.skip(f"the deployment allows {limit} images in a prompt")
    items = questions(deployment.profile, "which_image", images=min(limit, 4), seed=9)[:_IN_ORDER]
    pages = {}
    for item in items:
        paths = [f"/{item.id}/{place}" for place in range(len(item.pictures))]
        for path, following, its in zip(paths, [*paths[1:], ""], item.pictures, strict=True):
            pages[path] = Page(its.png(), after=following)
    with serving(server, pages) as pictures:

        def ask(item: Item) -> str:
            urls = [pictures.url(f"/{item.id}/{place}") for place in range(len(item.pictures))]
            return text_of(chat(server, shown(item, [picture(url) for url in urls])))

        answers = together(ask, items)
        missing = sorted(set(pages) - set(pictures.asked))
    assert not missing, f"expected the server to fetch {missing}, which it never asked for"
    check_answers(deployment, "which_image", items, answers, evidence)
