"""Defects of caches, crowds and load: one request shows in another, or none gets through."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.defects.messages import Request, Response, error
from tests.defects.pictures import show
from tests.defects.planting import Body, Planted, answered, asked, defect


def _key(request: Request) -> str:
    """What is asked, without the pictures' own bytes."""
    told = []
    for message in request.messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else [content]:
            url = part.get("image_url") if isinstance(part, dict) else None
            told.append(
                str(len(url["url"])) if isinstance(url, dict) and "url" in url else str(part)
            )
    return json.dumps(told)


@asked("pictures-cached-by-length", "takes pictures of equal length for the same", "CON-006")
def _(planted: Planted, request: Request) -> None:
    for part in request.pictures:
        url = part["image_url"]["url"]
        if url.startswith("data:image/png") and len(url) > 1000:
            with planted.lock:
                part["image_url"]["url"] = planted.kept.setdefault(str(len(url)), url)


@defect(
    "answers-cached", "answers what looks like a request before from a cache", "CON-006", "OAI-015"
)
class _AnswersCached(Planted):
    def before(self, request: Request) -> Response | None:
        with self.lock:
            body = self.kept.get(self._its(request)) if request.is_chat else None
        return None if body is None else Response(200, {"content-type": "application/json"}, body)

    def after(self, request: Request, response: Response) -> Response:
        if request.is_chat and response.status == 200:
            with self.lock:
                self.kept[self._its(request)] = response.body
        return response

    def _its(self, request: Request) -> str:
        rest = {k: v for k, v in request.document.items() if k != "messages"}
        return _key(request) + json.dumps(rest, sort_keys=True)


@asked("pictures-sorted-for-cache", "puts pictures in the order of its cache", "CON-011", "IMG-003")
def _(_: Planted, request: Request) -> None:
    pictures = request.pictures
    for part, url in zip(pictures, sorted(it["image_url"]["url"] for it in pictures), strict=True):
        part["image_url"]["url"] = url


@asked("system-stays", "keeps a system message for later requests", "CON-010")
def _(planted: Planted, request: Request) -> None:
    system = [it for it in request.messages if it.get("role") == "system"]
    with planted.lock:
        if system:
            planted.kept["system"] = system[0]
        elif "system" in planted.kept and len(request.messages) == 1:
            request.document["messages"] = [planted.kept["system"], *request.messages]


@asked("picture-before-used", "takes the size of the picture before", "CON-005")
def _(planted: Planted, request: Request) -> None:
    def sized(image: Any) -> Any:
        before = planted.kept.get("size", image.size)
        planted.kept["size"] = image.size
        return image.convert("RGB").resize((1, 1)).resize(before) if before != image.size else None

    if len(request.pictures) == 1:
        with planted.lock:
            show(request, sized)


@asked("odd-token-counts-blurred", "sees pictures of odd numbers of tokens badly", "CON-008")
def _(_: Planted, request: Request) -> None:
    show(
        request,
        lambda it: (
            it.convert("RGB").resize((1, 1)).resize(it.size)
            if round(it.width / 32) * round(it.height / 32) % 2 and min(it.size) >= 56
            else None
        ),
    )


@defect("answers-swapped", "gives answers to each other's requests", "CON-009")
class _AnswersSwapped(Planted):
    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[str, Any] | None = None
        self.changed = threading.Condition(self.lock)

    def after(self, request: Request, response: Response) -> Response:
        if not request.is_chat or response.status != 200 or request.document.get("stream"):
            return response
        with self.changed:
            if self.waiting is not None:
                other, self.waiting = self.waiting, None
                other["got"], response.body = response.body, other["mine"]
                self.changed.notify_all()
                return response
            mine: dict[str, Any] = {"mine": response.body, "got": None}
            self.waiting = mine
            self.changed.wait_for(lambda: mine["got"] is not None, 0.1)
            if self.waiting is mine:
                self.waiting = None
            response.body = mine["got"] or response.body
        return response


class _Running(Planted):
    """Counts the requests that run."""

    def __init__(self) -> None:
        super().__init__()
        self.running = 0

    @contextlib.contextmanager
    def around(self, request: Request) -> Iterator[None]:
        with self.lock:
            self.running += 1
        try:
            yield
        finally:
            with self.lock:
                self.running -= 1


@defect("batches-answer-otherwise", "answers otherwise in large batches", "CON-003")
class _Batches(_Running):
    def before(self, request: Request) -> Response | None:
        if request.is_chat and self.running > 6:
            show(request, lambda it: it.convert("RGB").resize((1, 1)).resize(it.size))
        return None


@answered("drifts", "changes its answer when a request came eight times", "CON-002")
def _(planted: Planted, request: Request, body: Body) -> None:
    key = json.dumps(request.document.get("messages"))
    with planted.lock:
        planted.kept[key] = planted.kept.get(key, 0) + 1
        if planted.kept[key] > 8 and request.document.get("temperature") == 0:
            body["choices"][0]["message"]["content"] = "I am tired."


@asked("settings-leak", "applies a request's token settings to others beside it", "SEC-016")
def _(planted: Planted, request: Request) -> None:
    with planted.lock:
        if request.document.keys() & {"logit_bias", "bad_words", "allowed_token_ids"}:
            planted.kept["until"] = time.monotonic() + 3.0
        elif time.monotonic() < planted.kept.get("until", 0.0):
            request.document["logit_bias"] = {"40": 100}


@defect("every-20th-lost", "drops every 20th request", "ROB-026")
class _EveryTwentiethLost(Planted):
    def before(self, request: Request) -> Response | None:
        if not request.is_chat:
            return None
        with self.lock:
            self.kept["count"] = self.kept.get("count", 0) + 1
            lost = self.kept["count"] % 20 == 0
        if lost:
            raise ConnectionAbortedError
        return None


@defect("burst-fails", "fails on requests beyond what it can run at once", "ROB-026")
class _BurstFails(_Running):
    def before(self, request: Request) -> Response | None:
        return error(500, "overloaded") if self.running > 20 else None


@defect("burst-refused-as-400", "answers 400 when it is busy", "ROB-026")
class _BurstRefused(_Running):
    def before(self, request: Request) -> Response | None:
        return error(400, "busy") if self.running > 20 else None


@defect("connections-counted", "serves 120 connections, and then none", "ROB-021")
class _ConnectionsCounted(Planted):
    def accepts(self) -> bool:
        with self.lock:
            self.kept["count"] = self.kept.get("count", 0) + 1
            return bool(self.kept["count"] <= 120 or self.kept["count"] > 320)


@defect("tokenized-together", "fails all that is tokenized together with a bad text", "ROB-032")
class _TokenizedTogether(Planted):
    def before(self, request: Request) -> Response | None:
        with self.lock:
            if rb"\ud800" in request.body or rb"\udc00" in request.body:
                self.kept["until"] = time.monotonic() + 0.5
            spoilt = time.monotonic() < self.kept.get("until", 0.0)
        return error(400, "TextEncodeInput") if spoilt and request.is_chat else None
