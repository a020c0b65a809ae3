"""Requests drawn from the engine's own OpenAPI document."""

from __future__ import annotations

from collections import Counter

import pytest

from conformance.asking import object_of
from conformance.fuzzing import Fuzzer
from conformance.refusing import Refusing, check_still_serves, send_all
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence

pytestmark = pytest.mark.robustness

SEED = 20_251_122
REQUESTS = 280


@pytest.mark.requirement("QVL-ROB-031")
def test_drawn_requests(
    server: Endpoint, capabilities: Capabilities, refuses: Refusing, evidence: Evidence
) -> None:
    """Whatever is sent to an endpoint that computes, the answer is no 5xx, and it comes."""
    capabilities.require("openapi")
    document = object_of(server.request("GET", "/openapi.json"))
    fuzzer = Fuzzer(document, server.model, SEED)
    assert "/v1/chat/completions" in fuzzer.schemas, (
        f"/openapi.json: expected the schema of /v1/chat/completions, seen {list(fuzzer.schemas)}"
    )
    answers = send_all(server, fuzzer.draw(REQUESTS))
    evidence.record(
        seed=SEED,
        endpoints=list(fuzzer.schemas),
        statuses=dict(Counter(f"{it.case.path} {it.status}" for it in answers)),
    )
    wrong = []
    for answer in answers:
        if not 200 <= answer.status < 500:
            seen = str(answer.status or "no answer")
            known = refuses.known(answer.case.path, seen, answer.text)
            sent = answer.case.body.decode()[:1500]
            evidence.append(
                "known_faults" if known else "faults",
                {"case": answer.case.name, "seen": seen, "sent": sent, "body": answer.text[:300]},
            )
            if known is None:
                wrong.append(
                    f"{answer.case.path}: seen {seen} for {sent[:400]}\n    {answer.text[:200]}"
                )
    assert not wrong, (
        f"{len(answers)} requests drawn with seed {SEED}: expected no 5xx, seen {len(wrong)}\n  "
        + "\n  ".join(wrong[:4])
    )
    check_still_serves(server, "drawn requests")
