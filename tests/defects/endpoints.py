"""Defects of the endpoints around the chat: health, models, version, metrics, documents."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.defects.messages import Request, Response, error
from tests.defects.planting import Body, Planted, answered, any_request, any_response, defect


@defect("health-503", "is never healthy", "SRV-003", "SRV-011", "SEC-001")
class _Unhealthy(Planted):
    def after(self, request: Request, response: Response) -> Response:
        if request.path == "/health":
            return error(503)
        return response


@answered(
    "model-not-listed", "lists another name than it serves", "SRV-003", "OAI-004", path="/v1/models"
)
def _(_: Planted, request: Request, body: Body) -> None:
    for model in body["data"]:
        model["id"] = "something-else"


@answered(
    "max-model-len-doubled",
    "lists twice its context length",
    "SRV-003",
    "ROB-023",
    path="/v1/models",
)
def _(_: Planted, request: Request, body: Body) -> None:
    body["data"][0]["max_model_len"] *= 2


@answered(
    "max-model-len-one-less",
    "lists one token less than its context",
    "SRV-003",
    "OAI-022",
    path="/v1/models",
)
def _(_: Planted, request: Request, body: Body) -> None:
    body["data"][0]["max_model_len"] -= 1


@answered("models-without-owner", "lists its model without owned_by", "OAI-004", path="/v1/models")
def _(_: Planted, request: Request, body: Body) -> None:
    del body["data"][0]["owned_by"]


@answered("models-extra-field", "adds an unknown field to its model", "OAI-004", path="/v1/models")
def _(_: Planted, request: Request, body: Body) -> None:
    body["data"][0]["mood"] = "good"


@answered("models-twice", "lists its model twice", "OAI-004", path="/v1/models")
def _(_: Planted, request: Request, body: Body) -> None:
    body["data"] *= 2


@answered("version-without-number", "tells no number as its version", "SRV-010", path="/version")
def _(_: Planted, request: Request, body: Body) -> None:
    body["version"] = "dev"


@answered("version-of-old", "is a version that advisories name", "SEC-017", path="/version")
def _(_: Planted, request: Request, body: Body) -> None:
    body["version"] = "0.9.0"


def _answers(
    name: str, summary: str, path: str, *expected: str, method: str = "", status: int = 404
) -> None:
    @any_request(name, summary, *expected)
    def _(_: Planted, request: Request) -> Response | None:
        its = request.path == path and method in ("", request.method)
        return error(status, "Not Found") if its else None


_answers("no-version", "has no /version", "/version", "SRV-010")
_answers(
    "ping-to-get-alone", "answers /ping to GET alone", "/ping", "SRV-011", method="POST", status=405
)
_answers("no-metrics", "has no /metrics", "/metrics", "SRV-013", "SRV-014", "SRV-015", "SRV-016")


@answered(
    "document-incomplete", "leaves /tokenize out of its document", "SRV-012", path="/openapi.json"
)
def _(_: Planted, request: Request, body: Body) -> None:
    del body["paths"]["/tokenize"]


@answered("document-of-swagger", "describes itself in Swagger 2", "SRV-012", path="/openapi.json")
def _(_: Planted, request: Request, body: Body) -> None:
    body["openapi"] = "2.0"


def _metrics(name: str, summary: str, *expected: str) -> Any:
    """A defect of the text of /metrics: a function of the defect and the text."""

    def add(function: Callable[[Planted, str], str]) -> Any:
        @any_response(name, summary, *expected)
        def _(planted: Planted, request: Request, response: Response) -> Response:
            if request.path == "/metrics" and response.status == 200:
                response.body = function(planted, response.body.decode()).encode()
            return response

        return function

    return add


def _scaled(text: str, name: str, change: Callable[[float], float]) -> str:
    return re.sub(
        rf"^({re.escape(name)}(?:\{{.*\}})?) (\S+)$",
        lambda match: f"{match[1]} {change(float(match[2]))}",
        text,
        flags=re.MULTILINE,
    )


@_metrics(
    "metrics-frozen",
    "tells the metrics of its first moment",
    "SRV-014",
    "SRV-015",
    "SRV-016",
    "STR-016",
)
def _(planted: Planted, text: str) -> str:
    kept: str = planted.kept.setdefault("text", text)
    return kept


@_metrics("metric-renamed", "calls a counter otherwise", "SRV-013")
def _(_: Planted, text: str) -> str:
    return text.replace("vllm:num_preemptions", "vllm:preemptions")


@_metrics("metric-of-other-type", "declares a counter as a gauge", "SRV-013")
def _(_: Planted, text: str) -> str:
    return re.sub(r"(# TYPE vllm:prompt_tokens(?:_total)?) counter", r"\1 gauge", text)


@_metrics(
    "metrics-of-other-model", "labels metrics with another model's name", "SRV-013", "SRV-014"
)
def _(_: Planted, text: str) -> str:
    return text.replace('model_name="defects"', 'model_name="other"')


@_metrics("prompt-tokens-inflated", "counts prompt tokens half again in metrics", "SRV-014")
def _(_: Planted, text: str) -> str:
    return _scaled(text, "vllm:prompt_tokens_total", lambda value: value * 1.5)


@_metrics("requests-counted-twice", "counts answered requests twice", "SRV-014")
def _(_: Planted, text: str) -> str:
    return _scaled(text, "vllm:request_success_total", lambda value: value * 2)


@_metrics("latencies-counted-twice", "counts latencies twice", "SRV-015")
def _(_: Planted, text: str) -> str:
    return _scaled(text, "vllm:e2e_request_latency_seconds_count", lambda value: value * 2)


@_metrics("latencies-in-ms", "sums latencies up in milliseconds", "SRV-015")
def _(_: Planted, text: str) -> str:
    return _scaled(text, "vllm:e2e_request_latency_seconds_sum", lambda value: value * 1000)


@_metrics("gauge-zero", "shows no running request", "SRV-016", "STR-016")
def _(_: Planted, text: str) -> str:
    return _scaled(text, "vllm:num_requests_running", lambda value: 0.0)


@_metrics("gauge-one", "shows a request that runs for ever", "SRV-016")
def _(_: Planted, text: str) -> str:
    return _scaled(text, "vllm:num_requests_running", lambda value: max(value, 1.0))


@defect("head-with-body", "answers HEAD with a body", "OAI-027")
class _HeadWithBody(Planted):
    answers_head = True

    def after(self, request: Request, response: Response) -> Response:
        if request.method == "HEAD":
            response.status, response.body = 200, b'{"object": "list"}'
        return response
