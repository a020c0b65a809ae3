"""Refusals: the right status, and the error object clients match."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.asking import text_of
from conformance.exchanges import CHAT, COUNTING, answers_of, asking, keep, post_all
from conformance.raw_http import exchange, header
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.chat_schema import read_error
from pytest_qwenvl.protocol.findings import Deviation

pytestmark = pytest.mark.openai

PATIENCE = 20.0  # seconds in which a server answers and closes
WRONG_FIELDS: tuple[dict[str, Any], ...] = (
    {"temperature": -1},
    {"temperature": "hot"},
    {"top_p": 2},
    {"n": 0},
    {"max_tokens": 0},
    {"max_tokens": "many"},
    {"presence_penalty": 3},
    {"logprobs": True, "top_logprobs": 1000},
    {"top_logprobs": 2},
    {"stop": 5},
    {"seed": "seed"},
    {"stream_options": {"include_usage": True}},
    {"response_format": {"type": "poem"}},
    {"messages": "hello"},
    {"messages": None},
    {"messages": [{"content": "hello"}]},
)


@pytest.mark.requirement("QVL-OAI-026")
def test_error_object(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Every value that cannot be is refused with 400 and an error object that says something."""
    bodies = [asking(server, COUNTING, max_tokens=1) | fields for fields in WRONG_FIELDS]
    wrong = []
    for fields, response in zip(WRONG_FIELDS, post_all(server, bodies), strict=True):
        keep(response, evidence)
        if response.status_code not in (400, 422):
            wrong.append(f"{fields}: expected 400, seen {response.status_code}")
            continue
        _, findings = read_error(
            response.content, deviations=deviations, status=response.status_code
        )
        wrong += [f"{fields}: {finding}" for finding in findings]
    assert not wrong, "refusals:\n" + "\n".join(f"  {it}" for it in wrong[:10])
    text_of(answers_of(server, [asking(server, COUNTING, max_tokens=4)], evidence)[0])


@pytest.mark.requirement("QVL-OAI-027")
def test_wrong_method(server: Endpoint, evidence: Evidence) -> None:
    """A method that an endpoint lacks is refused with the one it has."""
    for method, path, allowed in (
        ("GET", CHAT, "POST"),
        ("PUT", CHAT, "POST"),
        ("DELETE", "/v1/models", "GET"),
        ("POST", "/v1/models", "GET"),
    ):
        response = server.request(method, path, json={} if method in ("PUT", "POST") else None)
        keep(response, evidence)
        assert response.status_code == 405, (
            f"{method} {path}: expected 405, seen {response.status_code}: {response.text[:300]}"
        )
        methods = [each.strip() for each in response.headers.get("allow", "").split(",")]
        assert allowed in methods, f"{method} {path}: expected {allowed} in Allow, seen {methods}"
    # A library reads no body after HEAD, whether there is one or not.
    asked = header(server, "HEAD", "/v1/models", "Connection: close")
    head = exchange(server, asked, timeout=PATIENCE)
    evidence.record(head={"status": head.status, "bytes": len(head.body)})
    assert head.status in (200, 405), f"HEAD: expected 200 or 405, seen {head.status}"
    assert not head.body, f"HEAD: expected no body, seen {head.body[:300]!r}"


@pytest.mark.requirement("QVL-OAI-028")
def test_unknown_path(server: Endpoint, evidence: Evidence) -> None:
    """A path that is not there is not answered as if it were."""
    for method, path in (
        ("GET", "/v1/no-such-endpoint"),
        ("POST", "/v1/chat/completion"),
        ("POST", "/chat/completions/v1"),
    ):
        body = asking(server, COUNTING, max_tokens=1) if method == "POST" else None
        response = server.request(method, path, json=body)
        keep(response, evidence)
        assert response.status_code == 404, (
            f"{method} {path}: expected 404, seen {response.status_code}: {response.text[:300]}"
        )
        kind = response.headers.get("content-type", "")
        assert kind.startswith("application/json") and isinstance(response.json(), dict), (
            f"{method} {path}: expected a JSON object, seen {kind!r}: {response.text[:300]}"
        )
