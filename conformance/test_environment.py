"""The host and the interpreter that runs engines."""

from __future__ import annotations

import pytest

from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.outcomes import Evidence

pytestmark = [pytest.mark.environment, pytest.mark.smoke]


@pytest.mark.requirement("QVL-ENV-001")
def test_engine_matches_backend(engine_session: EngineSession, evidence: Evidence) -> None:
    """The interpreter's vLLM is one for this backend."""
    if engine_session.plan.endpoint is not None:
        pytest.skip("the interpreter of an attached server (--endpoint) cannot be seen")
    interpreter = engine_session.interpreter
    versions = engine_session.versions()
    backend = engine_session.plan.inventory.backend
    evidence.record(interpreter=str(interpreter.path), versions=versions, backend=backend)
    assert interpreter.platform == backend, (
        f"expected a vLLM for the {backend} backend in {interpreter.path}, seen one for "
        f"{interpreter.platform} ({interpreter.distribution} {interpreter.vllm_version}); "
        "install the other one, or name another interpreter with --engine-python"
    )
    if backend == "npu":
        assert "torch_npu" in versions, (
            f"expected torch_npu beside vllm-ascend {versions.get('vllm_ascend')} in "
            f"{interpreter.path}, seen none"
        )
