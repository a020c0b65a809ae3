"""What ``/metrics`` says, and whether it is what the requests did."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conformance.asking import chat_body, object_of, tokens_of
from conformance.exchanges import ENDLESS, require_endless
from conformance.metrics import Metrics, metrics_of
from fixtures.bank import generate
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.outcomes import Evidence

pytestmark = pytest.mark.serve

CHAT = "/v1/chat/completions"
FAMILIES = {
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
    "vllm:prompt_tokens": "counter",
    "vllm:generation_tokens": "counter",
    "vllm:request_success": "counter",
    "vllm:num_preemptions": "counter",
    "vllm:time_to_first_token_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram",
    "vllm:request_queue_time_seconds": "histogram",
    "vllm:request_prompt_tokens": "histogram",
    "vllm:request_generation_tokens": "histogram",
}
# Counters are written after an answer went out, within an engine step (seconds).
SETTLING = 10.0


def _settled(server: Endpoint, done: Callable[[Metrics], bool]) -> Metrics:
    """The metrics once ``done`` says so, or after the time they have to settle."""
    deadline = time.monotonic() + SETTLING
    while not done(metrics := metrics_of(server)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return metrics


def _at_rest(server: Endpoint) -> Metrics:
    """The metrics when no request runs, so that what earlier ones left is already counted."""
    gauges = ("vllm:num_requests_running", "vllm:num_requests_waiting")
    return _settled(server, lambda metrics: not any(metrics.total(name) for name in gauges))


def _difference(before: Metrics, after: Metrics, name: str, server: Endpoint) -> float:
    first, last = (it.total(name, model_name=server.model) for it in (before, after))
    assert last is not None, f"/metrics: expected {name} of model {server.model!r}, seen none"
    return last - (first or 0.0)


def _counted(before: Metrics, after: Metrics) -> float:
    """Requests answered in between, as the HTTP layer counts them, by whomever."""
    first, last = (it.total("http_requests_total", method="POST") or 0.0 for it in (before, after))
    return last - first


def _check_alone(
    session: EngineSession, before: Metrics, after: Metrics, sent: int, evidence: Evidence
) -> None:
    """Give up when somebody else's requests were counted with ours, on an attached server.

    The HTTP layer counts apart from the engine, when an answer is complete; what still runs is in
    the engine's gauge. A server of our own has no other client, so there any difference is its.
    """
    counted = _counted(before, after)
    running = sum(it.total("vllm:num_requests_running") or 0.0 for it in (before, after))
    evidence.record(sent=sent, counted_by_http=counted, running_besides=running)
    if session.plan.endpoint is not None and (counted > sent or running):
        raise InconclusiveError(
            f"{sent} requests were sent and {counted:.0f} counted, {running:.0f} ran besides: "
            "somebody else uses the attached server, so its counters say nothing of ours; run the "
            "suite while nobody else does"
        )


@pytest.mark.requirement("QVL-SRV-013")
def test_metric_families(server: Endpoint, evidence: Evidence) -> None:
    """The families that dashboards and autoscalers read are there, of their types."""
    metrics = metrics_of(server)
    evidence.record(families=sorted(metrics.types))
    wrong = []
    for name, kind in FAMILIES.items():
        # A counter's family is declared with or without the suffix of its samples.
        seen = metrics.types.get(name) or metrics.types.get(f"{name}_total")
        sample = {"counter": f"{name}_total", "histogram": f"{name}_count"}.get(kind, name)
        if seen != kind:
            wrong.append(f"{name}: expected a {kind}, seen {seen}")
        elif metrics.total(sample, model_name=server.model) is None:
            wrong.append(f"{sample}: expected a sample of model {server.model!r}, seen none")
    assert not wrong, "/metrics:\n  " + "\n  ".join(wrong)


def _ask(server: Endpoint) -> tuple[list[dict[str, Any]], list[float]]:
    """A few chat requests, with pictures and without: answers, and seconds each took."""
    items = generate("colour", 3, seed=7) + generate("chat", 3) + generate("describe", 2, seed=7)
    seconds = []
    answers = []

    def ask(messages: list[dict[str, Any]]) -> tuple[dict[str, Any], float]:
        began = time.monotonic()
        response = server.request("POST", CHAT, json=chat_body(server, messages))
        assert response.status_code == 200, (
            f"{CHAT}: seen {response.status_code}: {response.text[:300]}"
        )
        return object_of(response), time.monotonic() - began

    with ThreadPoolExecutor(4) as pool:
        for answer, took in pool.map(ask, [item.openai_messages() for item in items]):
            answers.append(answer)
            seconds.append(took)
    return answers, seconds


@pytest.mark.requirement("QVL-SRV-014")
def test_token_counters(
    server: Endpoint, engine_session: EngineSession, evidence: Evidence
) -> None:
    """Token counters rise by what the answers' usage says, requests by how many there were."""
    before = _at_rest(server)
    answers, _ = _ask(server)
    expected = {
        "vllm:prompt_tokens_total": sum(tokens_of(it, "prompt_tokens") for it in answers),
        "vllm:generation_tokens_total": sum(tokens_of(it, "completion_tokens") for it in answers),
        "vllm:request_success_total": len(answers),
    }
    after = _settled(
        server,
        lambda metrics: all(
            _difference(before, metrics, name, server) >= count for name, count in expected.items()
        ),
    )
    seen = {name: _difference(before, after, name, server) for name in expected}
    evidence.record(expected=expected, seen=seen)
    _check_alone(engine_session, before, after, len(answers), evidence)
    assert seen == expected, (
        f"/metrics after {len(answers)} requests that nobody else's mixed with: expected "
        f"{expected} more, as in their usage; seen {seen} more"
    )


@pytest.mark.requirement("QVL-SRV-015")
def test_latency_histograms(
    server: Endpoint, engine_session: EngineSession, evidence: Evidence
) -> None:
    """Each request is counted once in the histograms of latency, with a time it can have taken."""
    first, end = "vllm:time_to_first_token_seconds", "vllm:e2e_request_latency_seconds"
    before = _at_rest(server)
    answers, seconds = _ask(server)
    after = _settled(
        server,
        lambda metrics: all(
            _difference(before, metrics, f"{name}_count", server) >= len(answers)
            for name in (first, end)
        ),
    )
    seen = {
        f"{name}_{what}": _difference(before, after, f"{name}_{what}", server)
        for name in (first, end)
        for what in ("count", "sum")
    }
    evidence.record(seen=seen, client_seconds=seconds)
    _check_alone(engine_session, before, after, len(answers), evidence)
    for name in (first, end):
        assert seen[f"{name}_count"] == len(answers), (
            f"{name}: expected {len(answers)} more observations, seen {seen[f'{name}_count']:.0f}"
        )
    assert 0 < seen[f"{first}_sum"] <= seen[f"{end}_sum"] <= sum(seconds), (
        f"expected the first tokens to come after 0 s, before the whole answers, and these before "
        f"the client had them ({sum(seconds):.3f} s in all); seen {seen[f'{first}_sum']:.3f} s and "
        f"{seen[f'{end}_sum']:.3f} s"
    )


@pytest.mark.requirement("QVL-SRV-016")
def test_running_gauge(server: Endpoint, engine_session: EngineSession, evidence: Evidence) -> None:
    """A request that runs shows in the gauge of running requests, and then no more."""
    name = "vllm:num_requests_running"
    (item,) = generate("chat", 1)
    _at_rest(server)
    require_endless(server)
    before = _at_rest(server)
    body = chat_body(server, item.openai_messages()) | {
        "max_tokens": 1500,
        "stream": True,
        **ENDLESS,
    }

    def running(metrics: Metrics) -> float:
        return metrics.total(name, model_name=server.model) or 0.0

    with server.request("POST", CHAT, json=body, stream=True) as response:
        lines = response.iter_lines()
        next(lines)
        during = running(_settled(server, lambda metrics: running(metrics) >= 1))
    after = _settled(server, lambda metrics: running(metrics) == 0)
    evidence.record(during=during, after=running(after))
    assert during >= 1, f"{name}: expected 1 while a request runs, seen {during:.0f}"
    if running(after) and _counted(before, after) > 1:
        _check_alone(engine_session, before, after, 1, evidence)
    assert running(after) == 0, (
        f"{name}: expected 0 within {SETTLING:.0f} s after the client left, seen "
        f"{running(after):.0f}"
    )
