"""Leaks planted in real vLLM on the CPU are found in a soak of minutes, and only they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.soak_requests import SoakRequests, probes_of
from pytest_qwenvl.engines.interpreter import probe
from pytest_qwenvl.engines.server import Server, start_server
from pytest_qwenvl.measure.soak import SOAK_JUDGES
from pytest_qwenvl.measure.soak_record import Soak, as_evidence, soak_from
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile import ModelProfile
from pytest_qwenvl.profile_loading import load_profiles
from pytest_qwenvl.profile_soak import SoakLoad
from pytest_qwenvl.report.results import Outcome
from pytest_qwenvl.soak.processes import EngineProcesses
from pytest_qwenvl.soak.running import soak_server
from tests.defects.engine import WEIGHTS, engine_python
from tests.defects.running import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.nightly]

MINUTES = {"drift": 4.0}
"""Of a soak, by what is planted; two for the others."""
FOUND_BY = {
    "memory": "soak-memory",
    "descriptors": "soak-descriptors",
    "stuck": "soak-requests",
    "drift": "soak-latency",
}


@pytest.fixture(scope="module")
def profile() -> ModelProfile:
    return load_profiles([ROOT / "conformance" / "profiles"])["qwen3-vl-tiny"]


@pytest.fixture(scope="module")
def planned(profile: ModelProfile) -> PlannedDeployment:
    deployment = profile.deployment("serve-1npu")
    leaking = {**deployment.arguments, "middleware": ["tests.soak.leaking.Leaking"]}
    return PlannedDeployment(profile, deployment.model_copy(update={"arguments": leaking}), WEIGHTS)


@pytest.fixture(scope="module")
def server(
    profile: ModelProfile, planned: PlannedDeployment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    python = engine_python()
    if python is None:
        pytest.skip("no engine environment: python -m pytest_qwenvl.engines.cpu.install builds it")
    with pytest.MonkeyPatch.context() as patch:
        before = os.environ.get("PYTHONPATH", "")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), before])))
        started = start_server(
            profile,
            planned.deployment,
            interpreter=probe(Path(python)),
            weights=WEIGHTS,
            backend="cpu",
            devices=(0,),
            run_directory=tmp_path_factory.mktemp("leaking"),
        )
    yield started
    started.stop()


@pytest.fixture(scope="module")
def load(profile: ModelProfile) -> SoakLoad:
    """The profile's, at a rate and with looks that show a big leak within minutes.

    Others on the host are no matter here: what is planted is known.
    """
    assert profile.soak is not None
    return profile.soak.model_copy(
        update={
            "request_rate": 4.0,
            "watch_interval": 1.0,
            "probe_interval": 1.0,
            "warm_up_minutes": 0.5,
            "stuck_seconds": 20.0,
            "settle_seconds": 5.0,
            "minimum_sent": 0.5,
            "host_busy": 1.0,
        }
    )


@pytest.fixture(scope="module")
def soaked(
    server: Server, planned: PlannedDeployment, load: SoakLoad
) -> Callable[[str], dict[str, Outcome]]:
    """Outcomes of all judges over a soak with one leak, judged from the record alone."""

    def soak(leak: str) -> dict[str, Outcome]:
        assert server.request("POST", f"/planted/{leak}").status_code == 204
        try:
            found = soak_server(
                server,
                load,
                MINUTES.get(leak, 2.0),
                seed=1,
                draw=SoakRequests(server, planned, load),
                questions=probes_of(server, planned),
                processes=EngineProcesses(server.process.pid),
            )
        finally:
            server.request("POST", "/planted/none")
        kept: Soak = soak_from(as_evidence(found))
        judgements = {name: judge(kept, load) for name, judge in SOAK_JUDGES.items()}
        for name, judgement in judgements.items():
            print(f"{leak}: {name}: {judgement.outcome.value}: {judgement.sentence}")  # noqa: T201
        return {name: judgement.outcome for name, judgement in judgements.items()}

    return soak


def test_a_clean_engine_is_not_accused(soaked: Callable[[str], dict[str, Outcome]]) -> None:
    outcomes = soaked("none")
    assert Outcome.FAIL not in outcomes.values(), outcomes
    assert outcomes["soak-survival"] is Outcome.PASS
    assert outcomes["soak-requests"] is Outcome.PASS
    assert outcomes["soak-answers"] is Outcome.PASS


@pytest.mark.parametrize("leak", FOUND_BY)
def test_a_leak_is_found(soaked: Callable[[str], dict[str, Outcome]], leak: str) -> None:
    outcomes = soaked(leak)
    assert outcomes[FOUND_BY[leak]] is Outcome.FAIL, outcomes
    others = {name for name, outcome in outcomes.items() if outcome is Outcome.FAIL}
    # What takes the engine's time slows the probes too.
    assert others <= {FOUND_BY[leak], "soak-latency"}, outcomes
