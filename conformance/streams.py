"""Streamed answers of a server, read strictly, several at once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from conformance.exchanges import CHAT
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.findings import Deviation, Subject, about
from pytest_qwenvl.protocol.stream import StreamReading, read_stream

_TOGETHER = 8
USAGE = {"stream_options": {"include_usage": True}}


def stream(
    server: Endpoint,
    body: dict[str, Any],
    deviations: tuple[Deviation, ...],
    evidence: Evidence,
    path: str = CHAT,
) -> StreamReading:
    """The streamed answer to a request that must succeed; ``body`` need not say ``stream``."""
    options = body.get("stream_options") or {}
    sent = time.monotonic()
    with server.request("POST", path, json=body | {"stream": True}, stream=True) as response:
        assert response.status_code == 200, (
            f"POST {path}, streamed: expected 200, seen {response.status_code}: "
            f"{response.text[:300]}"
        )
        reading = read_stream(
            response.iter_content(chunk_size=None),
            response.headers.get("content-type", ""),
            usage_asked=bool(options.get("include_usage")),
            usage_in_every_chunk=bool(options.get("continuous_usage_stats")),
            choices=int(body.get("n", 1)),
            completions=path != CHAT,
            model=server.model,
            deviations=deviations,
            sent=sent,
        )
    evidence.append("streams", kept(reading))
    return reading


def stream_all(
    server: Endpoint,
    bodies: Iterable[dict[str, Any]],
    deviations: tuple[Deviation, ...],
    evidence: Evidence,
) -> list[StreamReading]:
    """The streamed answers to several requests that go out together, in their order."""

    def read(body: dict[str, Any]) -> StreamReading:
        return stream(server, body, deviations, evidence)

    with ThreadPoolExecutor(_TOGETHER) as pool:
        return list(pool.map(read, bodies))


def kept(reading: StreamReading) -> dict[str, Any]:
    """What the report keeps of a stream."""
    return {
        "texts": reading.texts,
        "chunks": reading.chunks,
        "arrivals": [round(it, 4) for it in reading.arrivals],
        "finish_reasons": reading.finish_reasons,
        "usage": reading.usage.model_dump() if reading.usage else None,
        "findings": [str(it) for it in reading.findings],
    }


def check_stream(reading: StreamReading, *subjects: Subject) -> None:
    """Assert that the stream brought an answer, and nothing objectionable about ``subjects``."""
    listed = about(reading.findings, *subjects)
    assert not listed, "in the stream:\n" + "\n".join(f"  {it}" for it in listed[:10])
    assert reading.chunks > 1, f"expected a stream of chunks, seen {reading.chunks}"
