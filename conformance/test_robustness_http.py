"""Connections that misbehave: framing, pace, and clients that leave."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from conformance.asking import chat, text_of
from conformance.malformed import CHAT, hello
from conformance.raw_http import RawAnswer, connection, exchange, header, post, request_target
from conformance.refusing import check_still_serves
from fixtures.bank import generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence

pytestmark = pytest.mark.robustness

PATIENCE = 20.0  # seconds in which a connection is answered or ended
_JSON = "Content-Type: application/json"
_CHUNKED = "Transfer-Encoding: chunked"


def _framings(server: Endpoint) -> dict[str, bytes]:
    """Requests whose header and body do not fit, or that are no HTTP."""
    body = json.dumps(hello(server)).encode()

    def chat_header(*lines: str) -> bytes:
        return header(server, "POST", CHAT, _JSON, *lines)

    length = f"Content-Length: {len(body)}"
    return {
        "shorter length": chat_header(f"Content-Length: {len(body) - 10}", "Connection: close")
        + body,
        "negative length": chat_header("Content-Length: -5") + body,
        "length is a word": chat_header("Content-Length: ten") + body,
        "two lengths": chat_header(length, "Content-Length: 5") + body,
        "length and chunks": chat_header(length, _CHUNKED) + b"0\r\n\r\n" + body,
        "chunk of garbage": chat_header(_CHUNKED) + b"zz\r\nhello\r\n0\r\n\r\n",
        "chunk of negative size": chat_header(_CHUNKED) + b"-5\r\nhello\r\n0\r\n\r\n",
        "unknown transfer encoding": chat_header("Transfer-Encoding: nonsense") + body,
        "no HTTP": b"hello\r\n\r\n",
        "bytes": bytes(range(256)),
        "NUL in a header": header(server, "GET", "/health", "X-A: a\0b"),
        "header without a colon": header(server, "GET", "/health", "no colon here"),
        "endless path": header(server, "GET", "/" + "a" * 200_000),
        "another version": b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
    }


@pytest.mark.requirement("QVL-ROB-017")
def test_broken_framing(server: Endpoint, evidence: Evidence) -> None:
    """What is no well-formed HTTP gets a 4xx or a closed connection."""
    cases = _framings(server)
    with ThreadPoolExecutor(len(cases)) as pool:
        answers = dict(
            zip(
                cases,
                pool.map(lambda data: exchange(server, data, timeout=PATIENCE), cases.values()),
                strict=True,
            )
        )
    _keep(evidence, answers)
    wrong = [
        f"{name}: seen {_seen(answer)}"
        for name, answer in answers.items()
        if not (400 <= answer.status < 500 or (answer.closed and not answer.data))
    ]
    assert not wrong, "expected a 4xx or a closed connection\n  " + "\n  ".join(wrong)
    check_still_serves(server, "broken framing")


@pytest.mark.requirement("QVL-ROB-018")
def test_clients_that_leave(server: Endpoint, evidence: Evidence) -> None:
    """Clients that stop half-way, or do not wait for the answer, cost nobody else an answer."""
    body = json.dumps(hello(server, max_tokens=64)).encode()
    whole = post(server, CHAT, body)
    answers = {}
    for name, sent in {
        "ends in the header": whole[:30],
        "ends in the body": whole[:-20],
        "ends after the request": whole,
    }.items():
        answers[name] = exchange(server, sent, timeout=PATIENCE, end=True)
    _keep(evidence, answers)
    for _ in range(8):
        with connection(server, PATIENCE) as its:
            its.sendall(whole)
    wrong = [
        f"{name}: seen {_seen(answer)}"
        for name, answer in answers.items()
        if answer.status >= 500 or not (answer.closed or answer.status)
    ]
    assert not wrong, "expected an answer below 500 or a closed connection\n  " + "\n  ".join(wrong)
    check_still_serves(server, "clients that left")


@pytest.mark.requirement("QVL-ROB-019")
def test_slow_senders(server: Endpoint, evidence: Evidence) -> None:
    """A request that arrives piece by piece is answered, and holds up nobody."""
    body = json.dumps(hello(server)).encode()
    whole = post(server, CHAT, body)
    step = len(whole) // 6
    pieces = [whole[at : at + step] for at in range(0, len(whole), step)]
    with contextlib.ExitStack() as held, ThreadPoolExecutor(4) as pool:
        for _ in range(32):
            idle = held.enter_context(connection(server, PATIENCE))
            idle.sendall(whole[:40])
        slow = [
            pool.submit(exchange, server, *pieces, timeout=PATIENCE, pause=0.25) for _ in range(4)
        ]
        began = time.monotonic()
        check_still_serves(server, "32 half-sent requests")
        seconds = time.monotonic() - began
        answers = {f"slow sender {n}": one.result() for n, one in enumerate(slow)}
    _keep(evidence, answers)
    evidence.record(seconds_beside_them=seconds)
    wrong = [
        f"{name}: seen {_seen(it)}"
        for name, it in answers.items()
        if it.status != 200 or b'"choices"' not in it.body
    ]
    assert not wrong, "expected slow senders to be answered\n  " + "\n  ".join(wrong)
    assert seconds < PATIENCE, (
        f"beside slow senders: expected an answer within {PATIENCE:.0f} s, seen {seconds:.1f} s"
    )


@pytest.mark.requirement("QVL-ROB-020")
def test_slow_readers(server: Endpoint, evidence: Evidence) -> None:
    """A client that reads its stream late gets all of it, and holds up nobody."""
    (item,) = generate("describe", 1)
    expected = text_of(chat(server, item.openai_messages()))
    body = hello(server) | {"messages": item.openai_messages(), "max_tokens": 128, "stream": True}
    request = post(server, CHAT, json.dumps(body).encode())
    with contextlib.ExitStack() as held:
        readers = [held.enter_context(connection(server, PATIENCE)) for _ in range(8)]
        for its in readers:
            its.sendall(request)
        check_still_serves(server, "eight clients that do not read")
        streams = []
        for its in readers:
            data = b""
            while piece := its.recv(512):
                data += piece
            streams.append(_streamed_text(data))
    evidence.record(expected=expected, streams=streams)
    different = [text for text in streams if text != expected]
    assert not different, f"expected {expected!r} in every stream, seen {different[:2]!r}"


@pytest.mark.requirement("QVL-ROB-021")
def test_many_connections(server: Endpoint, evidence: Evidence) -> None:
    """Hundreds of short connections, some without a word, leave the server as it was."""
    for _ in range(100):
        with connection(server, PATIENCE):
            pass
    one = header(server, "GET", "/v1/models", "Connection: close")
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda _: exchange(server, one, timeout=PATIENCE).status, range(200))
        )
    evidence.record(asked=len(answers), answered=answers.count(200))
    wrong = sorted({status for status in answers if status != 200})
    assert not wrong, f"200 connections one after another: expected 200 each, seen also {wrong}"
    check_still_serves(server, "many connections")


@pytest.mark.requirement("QVL-ROB-022")
def test_connection_kept(server: Endpoint, evidence: Evidence) -> None:
    """Requests over one connection are answered in turn, a refusal among them."""
    good = json.dumps(hello(server)).encode()
    bad = json.dumps(hello(server, temperature=-1)).encode()
    statuses: list[int] = []
    with contextlib.ExitStack() as held:
        kept: http.client.HTTPConnection | None = None
        for body in (good, bad, good, good):
            if kept is None:
                kept = http.client.HTTPConnection(urlsplit(server.base_url).netloc)
                kept.sock = held.enter_context(connection(server, PATIENCE))
                kept.auto_open = 0
            path, headers = request_target(server, CHAT), {"Content-Type": "application/json"}
            if server.api_key:
                headers["Authorization"] = f"Bearer {server.api_key}"
            try:
                kept.request("POST", path, body, headers)
                response = kept.getresponse()
                response.read()
            except (http.client.HTTPException, OSError) as problem:
                raise AssertionError(
                    f"request {len(statuses) + 1} of a connection: expected an answer, since its "
                    f"end was not announced; seen {problem!r} after {statuses}"
                ) from problem
            statuses.append(response.status)
            # A server may end a connection when it says so.
            if response.will_close:
                kept = None
    evidence.record(statuses=statuses)
    refused = 400 <= statuses[1] < 500
    assert refused and statuses[0] == statuses[2] == statuses[3] == 200, (
        f"four requests over one connection: expected 200, 4xx, 200, 200, seen {statuses}"
    )


def _streamed_text(data: bytes) -> str:
    """The text of an event stream, whatever its transfer encoding cut it into."""
    head, _, body = data.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.[01] 200\b", head), f"expected a stream, seen {data[:300]!r}"
    text = ""
    chunked = b"transfer-encoding: chunked" in head.lower()
    for line in (_unchunked(body) if chunked else body).split(b"\n"):
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:]).get("choices", []):
                text += choice["delta"].get("content") or ""
    return text


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        assert re.match(rb"[0-9A-Fa-f]+(;|$)", size), f"expected a chunk's size, seen {size[:99]!r}"
        count = int(size.partition(b";")[0], 16)
        if not count:
            break
        whole += rest[:count]
        body = rest[count + 2 :]
    return whole


def _keep(evidence: Evidence, answers: dict[str, RawAnswer]) -> None:
    for name, answer in answers.items():
        evidence.append("connections", {"case": name, "seen": _seen(answer)})


def _seen(answer: RawAnswer) -> str:
    end = "closed" if answer.closed else "still open"
    status = answer.status or "no status"
    return f"{status}, {end} after {answer.seconds:.1f} s: {answer.data[-150:]!r}"
