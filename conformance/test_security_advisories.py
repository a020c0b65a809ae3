"""Which published advisories the engine's version falls under, apart from what is observed."""

from __future__ import annotations

import pytest

from conformance.advisories import load_advisories
from conformance.asking import object_of
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence

pytestmark = pytest.mark.security


@pytest.mark.requirement("QVL-SEC-017")
def test_advisories(
    server: Endpoint, capabilities: Capabilities, engine_session: EngineSession, evidence: Evidence
) -> None:
    """The version of vLLM falls under none of the advisories in the table."""
    if engine_session.plan.endpoint is None:
        version = engine_session.interpreter.vllm_version
    else:
        capabilities.require("version")
        version = str(object_of(server.request("GET", "/version")).get("version"))
    table = load_advisories()
    known = table.of(version)
    evidence.record(
        version=version,
        table_date=table.date.isoformat(),
        looked_at=len(table.advisory),
        affected=[advisory.model_dump() for advisory in known],
    )
    assert not known, (
        f"vLLM {version} falls under {len(known)} advisories known on {table.date}\n"
        + "\n".join(
            f"  {it.id}: {it.summary}" + (f" (needs {it.condition})" if it.condition else "")
            for it in known
        )
    )
