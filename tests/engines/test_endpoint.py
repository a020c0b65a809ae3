"""Requests over connections that are kept, and those that must not be."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_qwenvl.engines import endpoint as module
from pytest_qwenvl.engines.endpoint import Endpoint
from tests.engines.scripted import scripted


@pytest.mark.parametrize(
    ("status", "connections"), [(200, 1), (400, 3), (501, 3)], ids=["200", "400", "501"]
)
def test_no_request_goes_over_a_connection_that_brought_a_refusal(status, connections):
    with scripted({"GET /v1/models": (status, {})}) as server:
        endpoint = Endpoint(server.url, "tiny")
        seen = [endpoint.request("GET", "/v1/models").status_code for _ in range(3)]
        endpoint.stop()
        assert seen == [status] * 3
        assert len({it.client for it in server.seen}) == connections


@pytest.mark.parametrize(("idle", "connections"), [(0.5, 1), (1.5, 3)], ids=["short", "long"])
def test_a_connection_that_nobody_used_for_a_while_is_not_used_again(
    monkeypatch, idle, connections
):
    now = iter(range(1, 100))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(now) * idle))
    with scripted({"GET /v1/models": (200, {})}) as server:
        endpoint = Endpoint(server.url, "tiny")
        for _ in range(3):
            endpoint.request("GET", "/v1/models")
        endpoint.stop()
        assert len({it.client for it in server.seen}) == connections
