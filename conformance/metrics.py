"""The server's ``/metrics``, for tests: what cannot be read is the product's failure."""

from __future__ import annotations

import re

from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.protocol import prometheus
from pytest_qwenvl.protocol.prometheus import Metrics, Sample

__all__ = ["Metrics", "Sample", "metrics_of", "read_metrics", "resident_bytes"]


def read_metrics(text: str) -> Metrics:
    """Read Prometheus' text format.

    Raises:
        AssertionError: a line that is none of it.
    """
    try:
        return prometheus.read_metrics(text)
    except ValueError as problem:
        raise AssertionError(f"/metrics: {problem}") from None


def metrics_of(server: Endpoint) -> Metrics:
    """What the server's ``/metrics`` says now.

    Raises:
        AssertionError: it is not there, or no text that Prometheus reads.
    """
    response = server.request("GET", "/metrics")
    assert response.status_code == 200, f"/metrics: expected 200, seen {response.status_code}"
    content_type = response.headers.get("content-type", "")
    assert content_type.startswith("text/plain"), (
        f"/metrics: expected content-type text/plain, seen {content_type!r}"
    )
    return read_metrics(response.text)


def resident_bytes(server: Endpoint) -> float | None:
    """Resident memory of the process that answers HTTP (bytes), as far as it says so."""
    response = server.request("GET", "/metrics")
    if response.status_code != 200:
        return None
    match = re.search(r"^process_resident_memory_bytes (\S+)$", response.text, re.MULTILINE)
    return float(match[1]) if match else None
