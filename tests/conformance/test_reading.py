"""Metrics, advisories and raw connections are read as they are."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.advisories import load_advisories
from conformance.hard_hosts import Manner, hard_host
from conformance.metrics import read_metrics
from conformance.raw_http import RawAnswer, exchange, header
from pytest_qwenvl.catalogue import load_catalogue
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import UsageProblem

METRICS = """\
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="a \\"b\\", c"} 30.0
vllm:prompt_tokens_total{engine="1",model_name="a \\"b\\", c"} 12.0
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 9.74e+08
vllm:x_bucket{le="+Inf"} 1 1700000000
"""


def test_metrics_are_summed_over_what_they_are_asked_for() -> None:
    metrics = read_metrics(METRICS)
    name = "vllm:prompt_tokens_total"
    assert metrics.total(name) == 42
    assert metrics.total(name, engine="1") == 12
    assert metrics.total(name, engine="2") is None
    assert metrics.total("process_resident_memory_bytes") == 9.74e8
    assert metrics.types[name] == "counter"


def test_what_is_no_metric_is_said() -> None:
    with pytest.raises(AssertionError, match="Prometheus"):
        read_metrics("<html>")


def test_advisories_follow_their_ranges() -> None:
    table = load_advisories()
    by_version = {
        version: {advisory.id for advisory in table.of(version)}
        for version in ("0.8.5", "0.23.0", "0.23.0+cpu", "0.32.0")
    }
    assert "CVE-2025-46722" in by_version["0.8.5"]
    assert "CVE-2026-54236" in by_version["0.23.0"]
    assert by_version["0.23.0"] == by_version["0.23.0+cpu"]
    assert not by_version["0.32.0"]


def test_advisories_name_requirements_of_the_catalogue() -> None:
    catalogue = load_catalogue(Path("conformance/requirements.toml").resolve())
    named = {name for advisory in load_advisories().advisory for name in advisory.observed_by}
    assert named
    assert named <= set(catalogue.groups)


def test_a_bad_range_is_a_usage_problem(tmp_path: Path) -> None:
    file = tmp_path / "advisories.toml"
    file.write_text(
        'date = 2026-01-01\nsource = "s"\n[[advisory]]\nid = "CVE-2026-1"\n'
        'affected = "before 3"\nsummary = "something that goes wrong"\n'
    )
    with pytest.raises(UsageProblem, match=r"advisory\.0\.affected"):
        load_advisories(file)


@contextlib.contextmanager
def _answering(data: bytes, *, close: bool) -> Iterator[Endpoint]:
    """A server that sends ``data`` to whoever connects."""
    ending = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            its, _ = listening.accept()
            with its:
                its.recv(65536)
                its.sendall(data)
                if not close:
                    ending.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Endpoint(f"http://127.0.0.1:{listening.getsockname()[1]}/base", "m", "the-key")
        ending.set()
        thread.join()


def test_an_answer_is_read_to_its_end() -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad Request\r\nA: b\r\n\r\nno"
    with _answering(data, close=True) as server:
        answer = exchange(server, header(server, "GET", "/x"), timeout=5.0)
    assert (answer.status, answer.body, answer.closed) == (400, b"no", True)


def test_silence_is_told_from_an_end() -> None:
    with _answering(b"", close=False) as server:
        answer = exchange(server, b"x", timeout=0.2)
    assert (answer.status, answer.data, answer.closed) == (0, b"", False)
    assert RawAnswer(b"HTTP/1.1 100 Continue\r\n\r\n", True, 0.0).status == 0


def test_a_header_has_the_path_host_and_key() -> None:
    server = Endpoint("http://example.org:8000/base", "m", "the-key")
    assert header(server, "GET", "/v1/models", "A: b") == (
        b"GET /base/v1/models HTTP/1.1\r\nHost: example.org:8000\r\nA: b\r\n"
        b"Authorization: Bearer the-key\r\n\r\n"
    )


@pytest.mark.parametrize("manner", ["silent", "cut off", "no HTTP", "endless"])
def test_hard_hosts(manner: Manner) -> None:
    with hard_host(manner) as host:
        address = host.url.removeprefix("http://").partition("/")[0]
        name, port = address.split(":")
        with socket.create_connection((name, int(port)), timeout=0.3) as its:
            its.sendall(b"GET /picture.png HTTP/1.1\r\n\r\n")
            received = b""
            with contextlib.suppress(TimeoutError):
                while len(received) < 3_000_000 and (piece := its.recv(65536)):
                    received += piece
    assert host.connections == 1
    if manner == "silent":
        assert received == b""
    elif manner == "endless":
        assert len(received) >= 3_000_000
    elif manner == "cut off":
        assert b"Content-Length: 5000" in received and received.endswith(b"half")
    else:
        assert not received.startswith(b"HTTP")
