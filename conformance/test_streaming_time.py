"""Streams in time: pieces arrive while they are written; a client that leaves frees its request."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest

from conformance.asking import chat, text_of
from conformance.exchanges import CHAT, COUNTING, ENDLESS, asking, require_endless
from conformance.raw_http import connection, post
from conformance.streams import stream
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.findings import Deviation
from pytest_qwenvl.protocol.stream import StreamReading

pytestmark = pytest.mark.streaming

# Each stream is longer than the one before, and asked for only when that one did not show it: on a
# busy host vLLM joins the tokens that it had no time to send. The first is an answer's own length.
LENGTHS: tuple[tuple[int, Mapping[str, Any]], ...] = ((96, {}), (384, ENDLESS), (1024, ENDLESS))
# Of an answer that is written out, the middle half of the text arrives over about half of the time;
# of one that is held back, within a few milliseconds.
SPREAD = 0.1
# Nor does it arrive as a first piece and all the rest.
BURSTS = 4
APART = 0.001  # seconds between two bursts
RUNNING = "vllm:num_requests_running"
FINISHED = "vllm:request_success_total"
SEEN_WITHIN = 3.0  # seconds in which a gauge follows, and others may be done with the server
FREED_WITHIN = 10.0  # seconds


def _spread(reading: StreamReading) -> tuple[float, int]:
    """The share of the time over which the middle half of the text arrived; in how many bursts."""
    assert len(reading.bodies) == len(reading.arrivals), f"seen chunks of {reading.findings[:3]}"
    times: list[float] = []  # of each character
    for body, arrival in zip(reading.bodies, reading.arrivals, strict=True):
        for choice in body["choices"]:
            times += [arrival] * len(choice["delta"].get("content") or "")
    assert times, f"expected a text, seen {reading.chunks} chunks without any"
    quarter = len(times) // 4
    bursts = 1 + sum(after - before > APART for before, after in pairwise(times))
    return round((times[-1 - quarter] - times[quarter]) / times[-1], 4), bursts


@pytest.mark.requirement("QVL-STR-009")
def test_incremental(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """The middle half of a text arrives over at least a tenth of the time, in several bursts."""
    seen: dict[int, tuple[float, int]] = {}
    for tokens, fields in LENGTHS:
        if fields:
            require_endless(server)
        body = asking(server, COUNTING, max_tokens=tokens, **fields)
        share, bursts = seen[tokens] = _spread(stream(server, body, deviations, evidence))
        if share >= SPREAD and bursts >= BURSTS:
            break
    else:
        raise AssertionError(
            f"expected the middle half of a text to arrive over at least {SPREAD:.0%} of the time "
            f"and the text in at least {BURSTS} bursts, seen, by tokens asked for, {seen}"
        )
    evidence.record(share_and_bursts_by_tokens=seen)


@pytest.mark.requirement("QVL-STR-016")
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "plain"])
def test_disconnect_frees(
    server: Endpoint, capabilities: Capabilities, evidence: Evidence, streamed: bool
) -> None:
    """The request of a client that leaves stops running, and the next one is answered."""
    capabilities.require("metrics")
    require_endless(server)
    before = _running_when(server, lambda running: running <= 0, SEEN_WITHIN)
    body = asking(server, COUNTING, **ENDLESS)
    del body["max_tokens"]  # The whole context: far more than is written in FREED_WITHIN.
    with _open_stream(server, body) if streamed else _waiting(server, body):
        during = _running_when(server, lambda running: running > before, SEEN_WITHIN)
    left, finished = time.monotonic(), sum(_values(server, FINISHED))
    after = _running_when(server, lambda running: running <= before, FREED_WITHIN)
    took = time.monotonic() - left
    evidence.record(before=before, during=during, after=after, seconds=round(took, 3))
    assert during > before, (
        f"{RUNNING}: expected more than {before:g} while a client waits, seen {during:g}"
    )
    others = sum(_values(server, FINISHED)) - finished
    if before > 0 and others > 1:
        raise InconclusiveError(
            f"{others:g} requests of others ended meanwhile: {RUNNING} says nothing of ours"
        )
    assert after <= before, (
        f"{RUNNING}: expected {before:g} again within {FREED_WITHIN:g} s after the client left, "
        f"seen {after:g}"
    )
    text_of(chat(server, [{"role": "user", "content": COUNTING}], max_tokens=4))


@contextlib.contextmanager
def _open_stream(server: Endpoint, body: dict[str, Any]) -> Iterator[None]:
    """A stream that goes on, of which the first pieces were read; its client leaves at the end."""
    with server.request("POST", CHAT, json=body | {"stream": True}, stream=True) as response:
        assert response.status_code == 200, (
            f"expected 200, seen {response.status_code}: {response.text[:300]}"
        )
        # Held until the client leaves: an iterator that is dropped closes the connection.
        pieces = response.iter_content(chunk_size=None)
        first = [next(pieces, b"") for _ in range(3)]
        assert all(first), f"expected a stream that goes on, seen {first}"
        yield


@contextlib.contextmanager
def _waiting(server: Endpoint, body: dict[str, Any]) -> Iterator[None]:
    """A connection that waits for a plain answer; its client leaves at the end."""
    with connection(server, SEEN_WITHIN) as its:
        its.sendall(post(server, CHAT, json.dumps(body).encode()))
        yield
        its.setblocking(False)
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            answer = its.recv(4096)
            raise InconclusiveError(f"answered before its client could leave: {answer[:200]!r}")


def _running_when(server: Endpoint, wanted: Callable[[float], bool], seconds: float) -> float:
    """How many requests run, as soon as it is as wanted; at last after ``seconds``."""
    end = time.monotonic() + seconds
    while not wanted(running := _running(server)) and time.monotonic() < end:
        time.sleep(0.05)
    return running


def _running(server: Endpoint) -> float:
    values = _values(server, RUNNING)
    assert values, f"expected {RUNNING} in /metrics, seen none"
    return sum(values)


def _values(server: Endpoint, name: str) -> list[float]:
    response = server.request("GET", "/metrics")
    assert response.status_code == 200, f"/metrics: expected 200, seen {response.status_code}"
    return [
        float(line.rsplit(" ", 1)[1])
        for line in response.text.splitlines()
        if line.startswith((name + "{", name + " "))
    ]
