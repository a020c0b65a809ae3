"""Requests made of pictures: parts and turns, and many requests at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from PIL import Image

from conformance.asking import chat, chat_body, tokens_of
from fixtures.bank import Item
from fixtures.bank.encodings import Encoded, png
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence

Case = TypeVar("Case")
Answer = TypeVar("Answer")
Size = tuple[int, int]

CHAT = "/v1/chat/completions"
QUESTION = "What colour is it?"
_TOGETHER = 8


def together(ask: Callable[[Case], Answer], cases: Iterable[Case]) -> list[Answer]:
    """What ``ask`` returns for each case, in their order; requests go out together."""
    with ThreadPoolExecutor(_TOGETHER) as pool:
        return list(pool.map(ask, cases))


def picture(url: str, **fields: Any) -> dict[str, Any]:
    """A content part with an image; ``fields`` stand beside the URL."""
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def words(text: str = QUESTION) -> dict[str, Any]:
    """A content part with a text."""
    return {"type": "text", "text": text}


def turn(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    """One message of a conversation."""
    return {"role": role, "content": list(parts)}


def sheet(width: int, height: int) -> dict[str, Any]:
    """A content part with a red picture of this size, in pixels, and nothing drawn on it."""
    return picture(png(Image.new("RGB", (width, height), (210, 60, 60))).url())


def shown(item: Item, parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """An item's messages with other image parts in place of its own, in their order."""
    rest = iter(parts)
    messages = item.openai_messages()
    for message in messages:
        if isinstance(message["content"], list):
            message["content"] = [
                next(rest) if part["type"] == "image_url" else part for part in message["content"]
            ]
    assert next(rest, None) is None, f"{item.id} has fewer than {len(parts)} pictures"
    return messages


def shown_as(item: Item, encode: Callable[[Any], Encoded]) -> list[dict[str, Any]]:
    """An item's messages with its pictures written by ``encode``."""
    return shown(item, [picture(encode(it.image()).url()) for it in item.pictures])


def prompt_tokens(server: Endpoint, messages: Sequence[Any], **fields: Any) -> int:
    """``usage.prompt_tokens`` of a conversation."""
    return tokens_of(chat(server, messages, **{"max_tokens": 1, **fields}), "prompt_tokens")


def check_refused(
    server: Endpoint,
    messages: Sequence[Any],
    what: str,
    evidence: Evidence,
    *,
    status: range = range(400, 500),
    naming: str = "",
    **fields: Any,
) -> None:
    """Assert that a request is refused with an error object.

    Args:
        what: names the request in messages.
        status: the statuses that are a right refusal.
        naming: a regular expression that the error's message must match somewhere.
    """
    body = chat_body(server, messages, **{"max_tokens": 1, **fields})
    response = server.request("POST", CHAT, json=body)
    kept = {"case": what, "status": response.status_code, "body": response.text[:2000]}
    evidence.append("refusals", kept)
    expected = f"{status.start}" if len(status) == 1 else f"{status.start} to {status.stop - 1}"
    assert response.status_code in status, (
        f"{what}: expected a refusal with {expected}, seen {response.status_code}: "
        f"{response.text[:300]}"
    )
    content_type = response.headers.get("content-type", "")
    assert content_type.startswith("application/json"), (
        f"{what}: expected an error as application/json, seen {content_type!r}: "
        f"{response.text[:300]}"
    )
    document = response.json()
    error = document.get("error") if isinstance(document, dict) else None
    assert isinstance(error, dict) and error.get("message"), (
        f"{what}: expected an error object with a message, seen {response.text[:300]}"
    )
    assert re.search(naming, str(error["message"])), (
        f"{what}: expected an error message that matches {naming!r}, seen {error['message']!r}"
    )
