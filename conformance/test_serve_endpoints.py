"""What a server says of itself: version, liveness, its own document."""

from __future__ import annotations

import pytest

from conformance.asking import object_of
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.findings import release_number

pytestmark = pytest.mark.serve

DOCUMENTED = {
    "/health": "get",
    "/metrics": "get",
    "/version": "get",
    "/v1/models": "get",
    "/v1/chat/completions": "post",
    "/v1/completions": "post",
    "/tokenize": "post",
    "/detokenize": "post",
}


@pytest.mark.requirement("QVL-SRV-010")
def test_version(server: Endpoint, engine_session: EngineSession, evidence: Evidence) -> None:
    """The version is told, and is that of the interpreter the server was started with."""
    response = server.request("GET", "/version")
    assert response.status_code == 200, f"/version: expected 200, seen {response.status_code}"
    version = object_of(response).get("version")
    evidence.record(version=version)
    assert isinstance(version, str) and version[:1].isdigit(), (
        f"/version: expected a version number, seen {version!r}"
    )
    if engine_session.plan.endpoint is not None:
        return
    installed = engine_session.interpreter.vllm_version
    evidence.record(installed=installed)
    assert release_number(version) == release_number(installed), (
        f"/version: expected {installed}, which the engine's interpreter has, seen {version}"
    )


@pytest.mark.requirement("QVL-SRV-011")
def test_ping(server: Endpoint, capabilities: Capabilities, evidence: Evidence) -> None:
    """/ping is as well as /health, however it is asked."""
    capabilities.require("ping")
    health = server.request("GET", "/health").status_code
    for method in ("GET", "POST"):
        status = server.request(method, "/ping").status_code
        evidence.append("ping", {"method": method, "status": status, "health": health})
        assert status == health == 200, (
            f"{method} /ping: expected 200 as of a healthy server, seen {status} ({health} of "
            "/health)"
        )


@pytest.mark.requirement("QVL-SRV-012")
def test_openapi_document(server: Endpoint, capabilities: Capabilities, evidence: Evidence) -> None:
    """The OpenAPI document describes the endpoints that clients use."""
    capabilities.require("openapi")
    document = object_of(server.request("GET", "/openapi.json"))
    evidence.record(openapi=document.get("openapi"), info=document.get("info"))
    assert str(document.get("openapi", "")).startswith("3."), (
        f"/openapi.json: expected OpenAPI 3, seen {document.get('openapi')!r}"
    )
    paths = document.get("paths")
    assert isinstance(paths, dict), f"/openapi.json: expected paths, seen {str(paths)[:200]}"
    missing = [
        f"{verb} {path}" for path, verb in DOCUMENTED.items() if verb not in paths.get(path, {})
    ]
    assert not missing, f"/openapi.json: expected also {', '.join(missing)}, seen {list(paths)}"
