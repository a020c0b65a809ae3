"""A server ends when it is asked to, and starts again as it was."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from conformance.asking import chat, text_of
from conformance.offline_answers import parity_questions
from conformance.served_answers import ask_served, check_agreement
from fixtures.bank import generate
from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.engines.ending import describe_end
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.engines.server import Server
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

pytestmark = pytest.mark.serve

# Kubernetes asks with SIGTERM and kills after 30 s unless told otherwise; a large model's workers
# and its devices' memory take their time beyond that (seconds).
STOPPING = 60.0
# What a process that ends on SIGTERM reports: success, the signal, or a shell's word for it.
ENDED = (0, -signal.SIGTERM, 128 + signal.SIGTERM)


@pytest.mark.needs("launch")
@pytest.mark.last(1)
@pytest.mark.requirement("QVL-SRV-017")
def test_stops_when_asked(
    server: Endpoint,
    served_before: Callable[[], list[str]],
    deployment: PlannedDeployment,
    npu_lease: Lease | None,
    engine_session: EngineSession,
    evidence: Evidence,
) -> None:
    """On SIGTERM, a server whose requests are answered ends in time and frees its port."""
    assert isinstance(server, Server) and npu_lease is not None, "a server of this run"
    served_before()
    if server.process.poll() is not None:
        # The offline LLM was asked in its place, on its devices.
        server = engine_session.start_server(deployment, npu_lease)
    # Answered to the end: vLLM 0.32 kills its engine under a running stream and then waits for it
    # for ever, whatever is asked of it (docs/known-limitations.md).
    (item,) = generate("chat", 1)
    text_of(chat(server, item.openai_messages()))
    began = time.monotonic()
    os.kill(server.process.pid, signal.SIGTERM)
    status = server.process.wait_exit(STOPPING)
    seconds = time.monotonic() - began
    evidence.record(seconds=seconds, status=status)
    assert status is not None, f"expected an end within {STOPPING:.0f} s of SIGTERM, seen none"
    assert status in ENDED, (
        f"expected exit code 0 or SIGTERM's, seen {describe_end(server.process)}"
    )
    url = urlsplit(server.base_url)
    with socket.socket() as free:
        free.settimeout(5.0)
        refused = free.connect_ex((url.hostname or "", url.port or 0))
    assert refused, f"expected nobody to listen on port {url.port} any more"


@pytest.mark.needs("launch")
@pytest.mark.last(2)
@pytest.mark.requirement("QVL-SRV-018")
def test_starts_again(
    server: Endpoint,
    served_before: Callable[[], list[str]],
    deployment: PlannedDeployment,
    npu_lease: Lease | None,
    engine_session: EngineSession,
    evidence: Evidence,
) -> None:
    """A server that is started anew gives the answers of the one before."""
    before = served_before()
    assert npu_lease is not None
    again = engine_session.start_server(deployment, npu_lease)
    evidence.record(first=server.base_url, second=again.base_url, seconds=again.ready_seconds)
    after = ask_served(again, deployment)
    items = parity_questions(deployment.profile.family)
    check_agreement(deployment, items, ("before", before), ("after", after), evidence)
