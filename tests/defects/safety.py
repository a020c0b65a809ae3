"""Defects of security."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from tests.defects.messages import Request, Response, error
from tests.defects.pictures import _fetch
from tests.defects.planting import Planted, any_request, any_response, asked, defect
from tests.defects.refusals import hello


@any_request("key-not-asked", "asks nobody for a key", "SEC-001")
def _(_: Planted, request: Request) -> None:
    request.headers["authorization"] = "Bearer defects-key"


@any_request("models-unguarded", "guards all but the list of models", "SEC-001")
def _(_: Planted, request: Request) -> None:
    if request.path == "/v1/models":
        request.headers["authorization"] = "Bearer defects-key"


@any_request("key-prefix-enough", "takes an empty key", "SEC-001")
def _(_: Planted, request: Request) -> None:
    if request.headers.get("authorization", "").strip() == "Bearer":
        request.headers["authorization"] = "Bearer defects-key"


@any_request("health-guarded", "asks for a key at /health", "SEC-001")
def _(_: Planted, request: Request) -> Response | None:
    guarded = request.path == "/health" and "defects-key" not in request.headers.get(
        "authorization", ""
    )
    return error(401) if guarded else None


def _error(name: str, summary: str, *expected: str) -> Any:
    def add(function: Callable[[Request, Response], None]) -> Any:
        @any_response(name, summary, *expected)
        def _(_: Planted, request: Request, response: Response) -> Response:
            if response.status >= 400:
                function(request, response)
            return response

        return function

    return add


def _tell(response: Response, text: str) -> None:
    response.body = response.body.replace(b'"message":"', b'"message":"' + text.encode())


@_error("key-echoed", "says in refusals what key it was sent", "SEC-002")
def _(request: Request, response: Response) -> None:
    response.body += request.headers.get("authorization", "").encode()


@_error("headers-echoed", "tells a request's headers in refusals", "SEC-002")
def _(request: Request, response: Response) -> None:
    response.headers["x-request"] = str(sorted(request.headers.items()))[:900]


@_error("path-told", "tells where its program lies", "SEC-007")
def _(request: Request, response: Response) -> None:
    _tell(response, "/opt/engine/lib/server.py: ")


@_error("address-told", "tells addresses in memory", "SEC-007")
def _(request: Request, response: Response) -> None:
    _tell(response, "<_io.BytesIO object at 0x7f34aa11d0> ")


@_error("traceback-told", "tells tracebacks", "SEC-007")
def _(request: Request, response: Response) -> None:
    _tell(response, "Traceback (most recent call last): ")


@asked("local-files-read", "reads files that a URL names", "SEC-003")
def _(_: Planted, request: Request) -> Response | None:
    for part in request.pictures:
        if part["image_url"]["url"].lower().startswith("file:"):
            return hello()
    return None


@asked("local-files-told", "tells the first line of a file that is no picture", "SEC-003")
def _(_: Planted, request: Request) -> Response | None:
    for part in request.pictures:
        url = part["image_url"]["url"]
        if url.startswith("file:///") and url.endswith("secret.txt"):
            with open(url.removeprefix("file://")) as file:
                return error(400, f"cannot identify {file.read(80)}")
    return None


@asked("backslash-misread", "reads an address as its second part", "SEC-004")
def _(_: Planted, request: Request) -> None:
    for part in request.pictures:
        url = part["image_url"]["url"]
        match = re.match(r"http://127\.0\.0\.1\\@[\w.]+:(\d+)/", url)
        if match:
            _fetch(f"http://127.0.0.1:{match[1]}/backslash.png")


@asked("any-host-fetched", "fetches from any host", "SEC-004")
def _(_: Planted, request: Request) -> None:
    for part in request.pictures:
        if part["image_url"]["url"].startswith("http://localhost:"):
            _fetch(part["image_url"]["url"])


@asked("redirects-followed", "follows redirects of pictures", "SEC-005")
def _(_: Planted, request: Request) -> None:
    for part in request.pictures:
        if re.match(r"http://127\.0\.0\.1:\d+/30\d$", part["image_url"]["url"]):
            _fetch(part["image_url"]["url"])


@asked("bombs-answered", "answers to a bomb", "SEC-006")
def _(_: Planted, request: Request) -> Response | None:
    import base64

    for part in request.pictures:
        data = part["image_url"]["url"].partition(",")[2][:64]
        if (
            data.startswith("iVBOR")
            and int.from_bytes(base64.b64decode(data)[16:20], "big") > 10_000
        ):
            return hello()
    return None


@asked("template-applied", "applies a template that comes with a request", "SEC-008")
def _(_: Planted, request: Request) -> None:
    settings = request.document.get("chat_template_kwargs")
    template = request.document.pop("chat_template", None)
    if isinstance(settings, dict):
        template = template or settings.get("chat_template")
    if template and request.messages:
        request.messages[0]["content"] = "word " * 60


@asked("template-arguments-fail", "fails on arguments of the template", "SEC-009")
def _(_: Planted, request: Request) -> Response | None:
    settings = request.document.get("chat_template_kwargs")
    return error(500) if isinstance(settings, dict) and "messages" in settings else None


def _offers(name: str, summary: str, path: str, *expected: str) -> None:
    @any_request(name, summary, *expected)
    def _(_: Planted, request: Request) -> Response | None:
        if request.path != path:
            return None
        return error(405, "Method Not Allowed")


_offers("sleep-offered", "offers /sleep", "/sleep", "SEC-010")
_offers("rpc-offered", "offers /collective_rpc", "/collective_rpc", "SEC-010")
_offers("adapters-offered", "loads adapters", "/v1/load_lora_adapter", "SEC-010")


@asked("embeddings-answered", "answers to ready-made embeddings", "SEC-011")
def _(_: Planted, request: Request) -> Response | None:
    return hello() if any("embeds" in str(it.get("type")) for it in request.parts) else None


@asked("patterns-hang", "compiles any pattern, however long it takes", "SEC-013")
def _(_: Planted, request: Request) -> None:
    outputs = request.document.get("structured_outputs")
    if isinstance(outputs, dict) and str(outputs.get("regex")).startswith("((a+"):
        time.sleep(35.0)


@any_response("version-in-header", "tells its version in a header", "SEC-014")
def _(_: Planted, request: Request, response: Response) -> Response:
    response.headers["server"] = "uvicorn/0.35.1"
    return response


@defect("any-origin", "allows any origin, with credentials", "SEC-015")
class _AnyOrigin(Planted):
    def after(self, request: Request, response: Response) -> Response:
        if origin := request.headers.get("origin"):
            response.headers["access-control-allow-origin"] = origin
            response.headers["access-control-allow-credentials"] = "true"
        return response
