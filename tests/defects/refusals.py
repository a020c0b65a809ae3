"""Defects of refusals: their status, their body, their limits, and what comes after them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from tests.defects.messages import Request, Response, error, is_picture
from tests.defects.pictures import remove
from tests.defects.planting import Planted, any_request, any_response, asked, defect

ANSWER = {
    "id": "chatcmpl-0123456789abcdef",
    "object": "chat.completion",
    "created": 1,
    "model": "defects",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23},
}


def hello() -> Response:
    """An answer that the engine did not give."""
    response = Response(200)
    response.document = ANSWER
    return response


def _refusal(name: str, summary: str, *expected: str) -> Any:
    """A defect of responses with a 4xx: a function of the request and the response."""

    def add(function: Callable[[Request, Response], Response | None]) -> Any:
        @any_response(name, summary, *expected)
        def _(_: Planted, request: Request, response: Response) -> Response:
            if 400 <= response.status < 500:
                return function(request, response) or response
            return response

        return function

    return add


@_refusal(
    "500-for-400",
    "answers 500 to bad requests",
    "OAI-026",
    "ROB-001",
    "ROB-004",
    "ROB-006",
    "ROB-007",
    "ROB-008",
    "IMG-004",
    "IMG-006",
)
def _(request: Request, response: Response) -> None:
    if response.status == 400:
        response.status = 500


@_refusal(
    "200-with-an-error",
    "answers 200 with an error in the body",
    "OAI-026",
    "ROB-001",
    "ROB-004",
    "ROB-006",
    "ROB-007",
    "IMG-004",
)
def _(request: Request, response: Response) -> None:
    if response.status == 400:
        response.status = 200


@_refusal("error-as-detail", "answers errors as {detail}", "OAI-026", "ROB-001", "IMG-004")
def _(request: Request, response: Response) -> None:
    response.document = {"detail": "Bad request"}


@_refusal("error-as-text", "answers errors as plain text", "OAI-026", "OAI-008", "ROB-001")
def _(request: Request, response: Response) -> None:
    response.body, response.headers["content-type"] = b"Bad request", "text/plain"


@_refusal("error-as-html", "answers errors as a page", "OAI-026", "OAI-008", "OAI-028", "ROB-001")
def _(request: Request, response: Response) -> None:
    response.body = b"<html><body><h1>400</h1></body></html>"
    response.headers["content-type"] = "text/html"


@_refusal("error-empty", "answers errors without a body", "OAI-026", "ROB-001", "ROB-004")
def _(request: Request, response: Response) -> None:
    response.body = b""


@_refusal(
    "error-without-message", "leaves an error's message empty", "OAI-026", "ROB-001", "IMG-004"
)
def _(request: Request, response: Response) -> None:
    response.document = {"error": {**_object(response), "message": ""}}


@_refusal("error-without-type", "leaves out an error's type", "OAI-026")
def _(request: Request, response: Response) -> None:
    its = _object(response)
    its.pop("type", None)
    response.document = {"error": its}


@_refusal("error-code-otherwise", "tells another code than the status", "OAI-026")
def _(request: Request, response: Response) -> None:
    response.document = {"error": {**_object(response), "code": 1}}


def _object(response: Response) -> dict[str, Any]:
    body = response.document
    found = body.get("error") if isinstance(body, dict) else None
    return dict(found) if isinstance(found, dict) else {"message": "x", "type": "x"}


@_refusal(
    "limit-of-images-not-named",
    "does not name the limit of images",
    "IMG-004",
    "IMG-006",
    "IMG-007",
)
def _(request: Request, response: Response) -> None:
    response.body = re.sub(rb"At most \d+ (image)", rb"Too many \1", response.body)


@_refusal("limit-of-videos-not-named", "does not name the limit of videos", "VID-001", "VID-002")
def _(request: Request, response: Response) -> None:
    response.body = re.sub(rb"At most \d+ (video)", rb"Too many \1", response.body)


@_refusal("context-not-named", "does not name the length of the context", "ROB-023", "ROB-024")
def _(request: Request, response: Response) -> None:
    response.body = response.body.replace(b"4096", b"N")


@_refusal("context-misnamed", "names the double of the context's length", "ROB-023", "ROB-024")
def _(request: Request, response: Response) -> None:
    response.body = response.body.replace(b"4096", b"8192")


@_refusal("404-for-405", "answers 404 to wrong methods", "OAI-027")
def _(request: Request, response: Response) -> None:
    if response.status == 405:
        response.status = 404


@_refusal("allow-missing", "does not say which method an endpoint has", "OAI-027")
def _(request: Request, response: Response) -> None:
    response.headers.pop("allow", None)


@_refusal("200-for-404", "answers 200 on paths that it does not have", "OAI-028", "SEC-010")
def _(request: Request, response: Response) -> Response | None:
    if response.status == 404 and "error" not in str(response.body[:12]):
        return hello()
    return None


@_refusal("400-for-404", "answers 400 for a model that it does not serve", "OAI-003")
def _(request: Request, response: Response) -> None:
    if response.status == 404 and request.is_chat:
        response.status = 400


@_refusal("model-not-named", "does not name the model that it does not serve", "OAI-003")
def _(request: Request, response: Response) -> None:
    response.body = response.body.replace(b"no-such-model", b"it")


@_refusal("refusals-streamed", "tells refusals as a stream", "STR-014", "IMG-007", "VID-002")
def _(request: Request, response: Response) -> None:
    if request.document.get("stream") is True:
        response.status, response.headers["content-type"] = 200, "text/event-stream"
        response.body = b"data: " + response.body + b"\n\ndata: [DONE]\n\n"


@defect(
    "broken-after-refusal",
    "fails on the request after a refused one",
    "OAI-003",
    "OAI-026",
    "IMG-004",
    "ROB-001",
)
class _BrokenAfterRefusal(Planted):
    def before(self, request: Request) -> Response | None:
        with self.lock:
            return error(500) if self.kept.pop("broken", False) else None

    def after(self, request: Request, response: Response) -> Response:
        if 400 <= response.status < 500 and request.path == "/v1/chat/completions":
            self.kept["broken"] = True
        return response


@defect(
    "hangs-up-after-refusal", "closes the connection after a refusal, without a word", "ROB-022"
)
class _HangsUp(Planted):
    def keeps_connection(self, response: Response) -> bool:
        return response.status < 400


@defect("refusal-breaks-neighbours", "answers others wrong while it refuses", "ROB-027")
class _BreaksNeighbours(Planted):
    def after(self, request: Request, response: Response) -> Response:
        with self.lock:
            if response.status >= 400:
                self.kept["until"] = time.monotonic() + 3.0
            spoilt = time.monotonic() < self.kept.get("until", 0.0)
        return hello() if spoilt and response.status == 200 and request.is_chat else response


@asked("any-model", "answers for any model", "OAI-003", "STR-014")
def _(_: Planted, request: Request) -> None:
    if isinstance(request.document.get("model"), str):
        request.document["model"] = "defects"


def _images(request: Request) -> int:
    return len(request.pictures)


@asked(
    "images-unlimited",
    "drops what is more than the limit of images, silently",
    "IMG-004",
    "IMG-006",
    "IMG-007",
    "IMG-010",
)
def _(_: Planted, request: Request) -> None:
    beyond = [id(it) for it in request.pictures[4:]]
    remove(request, lambda part: id(part) in beyond)


@asked(
    "image-limit-one-less",
    "refuses as many images as allowed",
    "IMG-003",
    "IMG-010",
    "IMG-012",
    "CON-011",
)
def _(_: Planted, request: Request) -> Response | None:
    return error(400, "At most 4 image(s)") if _images(request) == 4 else None


@asked(
    "image-limit-one-more", "accepts one image more than allowed", "IMG-004", "IMG-007", "IMG-010"
)
def _(_: Planted, request: Request) -> Response | None:
    return hello() if _images(request) == 5 else None


@asked("image-limit-by-turn", "holds the limit of images turn by turn", "IMG-006", "IMG-009")
def _(_: Planted, request: Request) -> Response | None:
    counts = [
        len([it for it in m["content"] if is_picture(it)])
        for m in request.messages
        if isinstance(m.get("content"), list)
    ]
    return hello() if sum(counts) > 4 >= max(counts) else None


@asked("image-limit-not-streamed", "forgets the limit of images in streams", "IMG-007")
def _(_: Planted, request: Request) -> Response | None:
    return hello() if _images(request) > 4 and request.document.get("stream") else None


@asked("fetches-what-it-refuses", "fetches pictures before it counts them", "IMG-008", "VID-003")
def _(_: Planted, request: Request) -> None:
    from tests.defects.pictures import _fetch

    for part in request.parts:
        its = part.get("image_url") or part.get("video_url")
        url = its.get("url") if isinstance(its, dict) else None
        if isinstance(url, str) and url.startswith("http://127.0.0.1:"):
            _fetch(url)


@defect("limit-races", "loses count of images among other requests", "IMG-010")
class _LimitRaces(Planted):
    def before(self, request: Request) -> Response | None:
        with self.lock:
            self.kept["running"] = running = self.kept.get("running", 0) + 1
        return hello() if request.is_chat and _images(request) > 4 and running > 2 else None

    def after(self, request: Request, response: Response) -> Response:
        with self.lock:
            self.kept["running"] -= 1
        return response


def _wrong(
    name: str, summary: str, whose: Callable[[Request], Any], instead: Any, *expected: str
) -> None:
    """A defect that answers certain requests, to any path, in its own way."""

    @any_request(name, summary, *expected)
    def _(_: Planted, request: Request) -> Response | None:
        return instead() if request.method == "POST" and whose(request) else None


def _said(*texts: str) -> Callable[[Request], bool]:
    return lambda request: any(text in str(request.document.get("messages")) for text in texts)


def _fails() -> Response:
    return error(500, "planted")


def _no_json(request: Request) -> bool:
    return (
        request.path.startswith("/v1/chat")
        and not request.document
        and b"[" * 100 not in request.body
    )


_wrong("bad-json-fails", "fails on bodies that are no JSON", _no_json, _fails, "ROB-001")
_wrong(
    "deep-json-fails",
    "fails on JSON that is nested deeply",
    lambda it: b"[" * 100 in it.body or b'{"a":' * 100 in it.body,
    _fails,
    "ROB-002",
)
_wrong(
    "any-content-type",
    "reads any body as JSON",
    lambda it: it.headers.get("content-type") in ("text/plain", "image/png"),
    hello,
    "ROB-003",
)
_wrong(
    "no-messages-answered",
    "answers to no messages",
    lambda it: it.is_chat and not it.document.get("messages"),
    hello,
    "ROB-004",
    "OAI-026",
)
_wrong(
    "unknown-role-fails",
    "fails on a role that it does not know",
    _said("wizard"),
    _fails,
    "ROB-005",
    "OAI-024",
)
_wrong(
    "field-types-fail",
    "fails on a text for a number",
    lambda it: it.document.get("n") == "many",
    _fails,
    "ROB-006",
)
_wrong(
    "nan-answered", "takes NaN for a temperature", lambda it: b": NaN" in it.body, hello, "ROB-007"
)
_wrong(
    "unknown-part-fails",
    "fails on parts that it does not know",
    _said("hologram"),
    _fails,
    "ROB-008",
)
_wrong(
    "surrogates-fail",
    "fails on a lone surrogate",
    lambda it: rb"\ud800" in it.body,
    _fails,
    "ROB-011",
)
_wrong("nul-fails", "fails on a NUL in a text", _said("a\\x00b"), _fails, "ROB-011")
_wrong(
    "repeated-keys-fail",
    "fails on keys that are repeated",
    lambda it: it.body.count(b'"max_tokens"') > 1,
    _fails,
    "ROB-014",
)
_wrong(
    "control-tokens-fail",
    "fails on the token that ends a turn",
    _said("<|im_end|>"),
    _fails,
    "ROB-028",
)
_wrong(
    "vision-tokens-fail",
    "fails on an image token in a text",
    _said("<|image_pad|>"),
    _fails,
    "ROB-029",
    "ROB-030",
)
_wrong(
    "ftp-fails",
    "fails on addresses that it cannot read",
    _said("ftp://", "gopher://"),
    _fails,
    "ROB-010",
)
_wrong(
    "tokenize-fails",
    "fails on a prompt for /tokenize that is no text",
    lambda it: it.path == "/tokenize" and not isinstance(it.document.get("prompt", ""), str),
    _fails,
    "ROB-031",
)
_wrong(
    "huge-bodies-answered",
    "answers to bodies of megabytes",
    lambda it: len(it.body) > 10_000_000,
    hello,
    "ROB-025",
)


@any_response("broken-pictures-answered", "answers to half a picture", "ROB-009")
def _(_: Planted, request: Request, response: Response) -> Response:
    return hello() if b"Failed to load image" in response.body else response


@any_response("failed-fetch-is-500", "answers 500 for a picture that its host refuses", "ROB-012")
def _(_: Planted, request: Request, response: Response) -> Response:
    if response.status == 422 or (request.is_chat and _said("/missing", "/forbidden")(request)):
        response.status = 500
    return response


@any_request("failed-fetch-hangs", "waits for a host that breaks off", "ROB-013")
def _(_: Planted, request: Request) -> None:
    if request.is_chat and _said("picture.invalid")(request):
        time.sleep(70.0)


@any_request("malformed-hangs", "never answers a malformed body", "ROB-001", "OAI-008")
def _(_: Planted, request: Request) -> None:
    if request.path.startswith("/v1/chat") and not request.document and len(request.body) < 2000:
        time.sleep(65.0)


@asked("endless-picture-answered", "answers to a picture without an end", "ROB-016")
def _(_: Planted, request: Request) -> Response | None:
    import requests

    for part in request.pictures:
        url = part["image_url"]["url"]
        if url.startswith("http://127.0.0.1:") and url.endswith("/picture.png"):
            try:
                with requests.get(url, stream=True, timeout=2, proxies={"http": ""}) as answer:
                    endless = "content-length" not in answer.headers
                    next(answer.iter_content(10))
            except requests.RequestException:
                continue
            return hello() if endless else None
    return None


@defect("fetches-block", "answers nobody while it waits for a picture's host", "ROB-015")
class _FetchesBlock(Planted):
    def before(self, request: Request) -> Response | None:
        if request.is_chat and "/picture.png?" in str(request.document.get("messages")):
            import requests

            with self.lock:
                try:
                    requests.get(request.pictures[0]["image_url"]["url"], timeout=20)
                except requests.RequestException:
                    return error(400)
        elif request.path != "/metrics":
            with self.lock:
                pass
        return None


@asked("placeholder-is-a-picture", "takes a written placeholder for a picture", "ROB-030")
def _(_: Planted, request: Request) -> None:
    for message in request.messages:
        content = message.get("content")
        if isinstance(content, list) and "<|image_pad|>" in str(content) and request.pictures:
            content.append(request.pictures[0])


@asked("pictures-cut-to-fit", "shrinks pictures until they fit the context", "ROB-024", "IMG-016")
def _(_: Planted, request: Request) -> None:
    from tests.defects.pictures import show

    if len(request.body) > 1000 and len(request.pictures) == 4:
        show(request, lambda it: it.convert("RGB").resize((64, 64)) if min(it.size) > 800 else None)
    elif len(request.pictures) == 1:
        show(
            request,
            lambda it: (
                it.convert("RGB").resize((it.width // 2, it.height // 2))
                if it.width * it.height > 1_050_000 and max(it.size) < 5000
                else None
            ),
        )
