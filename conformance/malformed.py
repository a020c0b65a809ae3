"""Requests that are wrong in one way each, by kind of wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from conformance.asking import chat_body
from conformance.crafted_pngs import SMALL_PNG, png_claiming
from pytest_qwenvl.engines.endpoint import Endpoint

CHAT = "/v1/chat/completions"
QUESTION = "What colour is it?"
_HELLO = [{"role": "user", "content": "Say hello."}]


@dataclass(frozen=True)
class Case:
    """One request, as its bytes go out.

    Attributes:
        name: unique within a requirement; known faults are listed by it.
        content_type: empty to send none.
        answered: whether an answer is as good as a refusal, where servers may differ.
    """

    name: str
    body: bytes
    content_type: str = "application/json"
    path: str = CHAT
    answered: bool = False


def hello(server: Endpoint, **fields: Any) -> dict[str, Any]:
    """The body of a good request, with some fields set."""
    return chat_body(server, _HELLO) | {"max_tokens": 1, **fields}


def _encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


def fields_case(server: Endpoint, name: str, *, answered: bool = False, **fields: Any) -> Case:
    """A good request in which some fields are set to what is wrong."""
    return Case(name, _encoded(hello(server, **fields)), answered=answered)


def content_case(
    server: Endpoint, name: str, *parts: Any, answered: bool = False, **fields: Any
) -> Case:
    """A request whose user message has these parts, and then a question."""
    content = [*parts, {"type": "text", "text": QUESTION}]
    messages = [{"role": "user", "content": content}]
    return fields_case(server, name, answered=answered, messages=messages, **fields)


def url_case(server: Endpoint, name: str, url: str, **fields: Any) -> Case:
    """A request for a picture at ``url``."""
    return content_case(server, name, {"type": "image_url", "image_url": {"url": url}}, **fields)


def picture_url(data: bytes = SMALL_PNG, media_type: str = "image/png") -> str:
    """Any bytes, passed off as a picture."""
    return f"data:{media_type};base64," + base64.b64encode(data).decode()


def json_bodies(server: Endpoint) -> list[Case]:
    """Bodies that are no JSON, or JSON that is no object."""
    good = _encoded(hello(server))
    return [
        Case("empty", b""),
        Case("cut off", good[: len(good) // 2]),
        Case("no closing brace", good[:-1]),
        Case("something after it", good + b"}"),
        Case("single quotes", good.replace(b'"', b"'")),
        Case("trailing comma", good[:-1] + b",}"),
        Case("raw NUL in a string", good.replace(b"hello", b"he\0lo")),
        Case("not UTF-8", good.replace(b"hello", b"\xff\xfe")),
        Case("a list", b"[]"),
        Case("a list of requests", b"[" + good + b"]"),
        Case("a number", b"5"),
        Case("a string", b'"hello"'),
        Case("null", b"null"),
        Case("no JSON at all", b"hello"),
    ]


def nested_bodies(server: Endpoint) -> list[Case]:
    """JSON nested deeper than any reader of it can follow."""
    good = _encoded(hello(server))
    cases = []
    for depth in (2_000, 100_000):
        deep = b"[" * depth + b"]" * depth
        cases.append(Case(f"messages {depth} deep", good.replace(b'"Say hello."', deep)))
        objects = b'{"a":' * depth + b"1" + b"}" * depth
        cases.append(Case(f"an unknown field {depth} deep", good[:-1] + b',"x":' + objects + b"}"))
    return cases


def content_types(server: Endpoint) -> list[Case]:
    """A good body under another content type than JSON's."""
    good = _encoded(hello(server))
    types = (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "image/png",
        "garbage",
    )
    return [Case(name, good, content_type=name) for name in types] + [
        Case("none", good, content_type="", answered=True)
    ]


def with_charset(server: Endpoint) -> Case:
    """A good body whose content type names the charset that JSON has anyway."""
    kind = "application/json; charset=utf-8"
    return Case("with its charset", _encoded(hello(server)), content_type=kind, answered=True)


def messages(server: Endpoint) -> list[Case]:
    """Conversations that are missing, empty or of the wrong type."""
    wrong: dict[str, Any] = {
        "null": None,
        "empty": [],
        "an object": {},
        "a text": "hello",
        "numbers": [1],
        "texts": ["hello"],
        "an empty message": [{}],
        "a message in a list": [_HELLO],
        "no role": [{"content": "hello"}],
        "role is a number": [{"role": 7, "content": "hello"}],
        "role is null": [{"role": None, "content": "hello"}],
        "content is a number": [{"role": "user", "content": 5}],
        "content is an object": [{"role": "user", "content": {"text": "hello"}}],
    }
    body = hello(server)
    del body["messages"]
    return [
        Case("missing", _encoded(body)),
        *(fields_case(server, name, messages=value) for name, value in wrong.items()),
    ]


def odd_messages(server: Endpoint) -> list[Case]:
    """Conversations that a chat template may or may not take."""
    odd: dict[str, Any] = {
        "no content": [{"role": "user"}],
        "content is null": [{"role": "user", "content": None}],
        "empty text": [{"role": "user", "content": ""}],
        "no parts": [{"role": "user", "content": []}],
        "empty text part": [{"role": "user", "content": [{"type": "text", "text": ""}]}],
        "unknown role": [{"role": "wizard", "content": "hello"}],
        "empty role": [{"role": "", "content": "hello"}],
        "system only": [{"role": "system", "content": "hello"}],
        "assistant only": [{"role": "assistant", "content": "hello"}],
        "tool without a call": [{"role": "tool", "content": "hello"}],
        "two users": [*_HELLO, *_HELLO],
    }
    return [fields_case(server, name, answered=True, messages=it) for name, it in odd.items()]


def field_types(server: Endpoint) -> list[Case]:
    """Fields of the wrong type."""
    wrong: list[tuple[str, Any]] = [
        ("max_tokens", "ten"),
        ("max_tokens", []),
        ("max_tokens", 1.5),
        ("temperature", "hot"),
        ("temperature", []),
        ("top_p", {}),
        ("n", "many"),
        ("n", 1.5),
        ("stop", 5),
        ("stop", [5]),
        ("seed", "x"),
        ("logprobs", "perhaps"),
        ("top_logprobs", "x"),
        ("stream", "perhaps"),
        ("stream_options", 5),
        ("response_format", "json"),
        ("response_format", {"type": "nonsense"}),
        ("tools", "x"),
        ("tools", [5]),
        ("model", 5),
        ("logit_bias", []),
        ("logit_bias", {"a": 1}),
    ]
    return [
        fields_case(server, f"{field}: {json.dumps(value)}", **{field: value})
        for field, value in wrong
    ]


def field_ranges(server: Endpoint) -> list[Case]:
    """Numbers that no setting has."""
    wrong: list[tuple[str, Any]] = [
        ("max_tokens", -1),
        ("max_tokens", 2**70),
        ("max_completion_tokens", -5),
        ("temperature", -1),
        ("top_p", 0),
        ("top_p", -1),
        ("top_p", 2),
        ("n", 0),
        ("n", -1),
        ("n", 1_000_000),
        ("presence_penalty", 100),
        ("frequency_penalty", -100),
        ("seed", 2**70),
    ]
    cases = [fields_case(server, f"{field}: {value}", **{field: value}) for field, value in wrong]
    cases += [
        fields_case(server, f"top_logprobs: {value}", logprobs=True, top_logprobs=value)
        for value in (-1, 1000)
    ]
    good = _encoded(hello(server, temperature=0.5))
    for text in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000):
        body = good.replace(b'"temperature": 0.5', b'"temperature": ' + text.encode())
        assert body != good
        cases.append(Case(f"temperature: {text[:20]}", body))
    return cases


def parts(server: Endpoint) -> list[Case]:
    """Parts of a message that are none."""
    url = picture_url()
    wrong: dict[str, Any] = {
        "unknown type": {"type": "hologram", "hologram": 1},
        "a number": 5,
        "null": None,
        "image_url is a text": {"type": "image_url", "image_url": url},
        "image_url is null": {"type": "image_url", "image_url": None},
        "image_url without url": {"type": "image_url", "image_url": {}},
        "url is a number": {"type": "image_url", "image_url": {"url": 5}},
        "no image_url": {"type": "image_url"},
        "unknown detail": {"type": "image_url", "image_url": {"url": url, "detail": "extreme"}},
        "audio": {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        "a file": {"type": "file", "file": {"file_id": "x"}},
    }
    return [content_case(server, name, part) for name, part in wrong.items()]


def picture_bytes(server: Endpoint) -> list[Case]:
    """Bytes that are no picture, or a broken one."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(file, "JPEG")
    jpeg = file.getvalue()
    wrong = {
        "no bytes": b"",
        "random bytes": bytes(range(256)) * 4,
        "a text": b"hello",
        "HTML": b"<!DOCTYPE html><html></html>",
        "PDF": b"%PDF-1.4\n%%EOF",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "signature only": SMALL_PNG[:8],
        "half a PNG": SMALL_PNG[: len(SMALL_PNG) // 2],
        "half a JPEG": jpeg[: len(jpeg) // 2],
        "GIF header only": b"GIF89a",
        "a PNG of no area": png_claiming(0, 0),
        "a PNG with a wrong checksum": SMALL_PNG[:29] + b"\0\0\0\0" + SMALL_PNG[33:],
    }
    return [url_case(server, name, picture_url(data)) for name, data in wrong.items()]


def picture_urls(server: Endpoint) -> list[Case]:
    """Addresses under which nothing can lie."""
    urls = {
        "empty": "",
        "data: alone": "data:",
        "no comma": "data:image/png;base64",
        "no data": "data:image/png;base64,",
        "no base64": "data:image/png;base64,!!!!",
        "cut base64": "data:image/png;base64,AAA",
        "not declared base64": "data:image/png,rawbytes",
        "no scheme": "no address",
        "no host": "http:///picture.png",
        "no such port": "http://127.0.0.1:99999/",
        "half an address": "http://[::1",
        "NUL in the host": "http://127.0.0.1\0/",
        "ftp": "ftp://127.0.0.1/picture.png",
        "gopher": "gopher://127.0.0.1/",
        "javascript": "javascript:alert(1)",
    }
    return [url_case(server, name, url) for name, url in urls.items()]


def unusual_text(server: Endpoint) -> list[Case]:
    """Texts of characters that few people send; a lone surrogate is no text at all."""
    texts = {
        "NUL": "a\0b",
        "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
        "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 " * 4,
        "combining": "e" + "\u0301" * 100,
        "byte order mark": "\ufeffhello",
        "noncharacters": "\uffff\U0010ffff\ue000",
        "controls": "".join(map(chr, range(1, 32))) + "\x7f\x80\u2028",
        "one long word": "a" * 500,
        "high surrogate": "\ud800 hello",
        "low surrogate": "hello \udc00",
    }
    return [
        fields_case(server, name, answered=True, messages=[{"role": "user", "content": text}])
        for name, text in texts.items()
    ]


def repeated_keys(server: Endpoint) -> list[Case]:
    """Objects that have a key twice."""
    good = _encoded(hello(server))
    return [
        Case("max_tokens twice", good[:-1] + b',"max_tokens":2}', answered=True),
        Case("messages twice", good[:-1] + b',"messages":[]}', answered=True),
        Case("role twice", good.replace(b'"role"', b'"role":"x","role"'), answered=True),
    ]


def all_kinds(server: Endpoint) -> Iterable[Case]:
    """Every request above that is wrong, for what holds of all refusals."""
    for kind in (
        json_bodies,
        nested_bodies,
        content_types,
        messages,
        odd_messages,
        field_types,
        field_ranges,
        parts,
        picture_bytes,
        picture_urls,
        unusual_text,
    ):
        yield from kind(server)
