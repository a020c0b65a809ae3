"""The healthy engine behind the proxies: real vLLM on the CPU, with the reference checkpoint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pytest_qwenvl.engines.cpu.install import installed_interpreter
from pytest_qwenvl.engines.interpreter import probe
from pytest_qwenvl.engines.server import start_server
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.profile_loading import load_profiles
from tests.defects.running import MODEL, PROFILES, ROOT

WEIGHTS = ROOT / "fixtures" / "checkpoints" / "qwen3-vl-tiny"


def engine_python() -> Path | None:
    """The interpreter that has vLLM: ``QWENVL_TEST_ENGINE_PYTHON``, or the installed one."""
    named = os.environ.get("QWENVL_TEST_ENGINE_PYTHON")
    return Path(named) if named else installed_interpreter()


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[str]:
    """The address of an engine that runs as long as the block.

    Raises:
        UsageProblem: there is no interpreter with vLLM.
        EngineStartError: it does not become ready.
    """
    python = engine_python()
    if python is None:
        raise UsageProblem(
            "no engine environment: python -m pytest_qwenvl.engines.cpu.install builds it"
        )
    profile = load_profiles([PROFILES])[MODEL]
    server = start_server(
        profile,
        profile.deployments[0],
        interpreter=probe(python),
        weights=WEIGHTS,
        backend="cpu",
        devices=(0,),
        run_directory=folder,
    )
    try:
        yield server.base_url
    finally:
        server.stop()
