"""The named events of a streamed /v1/responses."""

from __future__ import annotations

import pytest

from conformance.exchanges import COUNTING, answers_of
from conformance.test_responses import RESPONSES
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.responses_schema import output_text, read_response_events
from pytest_qwenvl.protocol.sse import read_events

pytestmark = pytest.mark.streaming


@pytest.mark.requirement("QVL-STR-019")
def test_response_events(server: Endpoint, capabilities: Capabilities, evidence: Evidence) -> None:
    """Numbered events from created to completed bring the plain response's text."""
    capabilities.require("responses")
    body = {
        "model": server.model,
        "input": COUNTING,
        "temperature": 0.0,
        "max_output_tokens": 128,
        "store": False,
    }
    (plain,) = answers_of(server, [body], evidence, RESPONSES)
    expected = output_text(plain)
    assert expected, f"expected a text in the plain response, seen {str(plain)[:300]}"
    with server.request("POST", RESPONSES, json=body | {"stream": True}, stream=True) as response:
        assert response.status_code == 200, (
            f"POST {RESPONSES}, streamed: expected 200, seen {response.status_code}: "
            f"{response.text[:300]}"
        )
        reading = read_response_events(
            read_events(
                response.iter_content(chunk_size=None),
                response.headers.get("content-type", ""),
                named=True,
            )
        )
    findings = [str(finding) for finding in reading.findings]
    evidence.record(text=reading.text, deltas=reading.deltas, findings=findings)
    assert not findings, "in the stream:\n" + "\n".join(f"  {it}" for it in findings[:10])
    assert reading.text == expected, f"expected {expected!r}, seen {reading.text!r}"
    assert reading.response is not None
    status = reading.response.get("status")
    assert status == plain.get("status"), f"expected {plain.get('status')!r}, seen {status!r}"
