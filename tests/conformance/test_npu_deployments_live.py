"""Every shipped NPU deployment and the real packages it is meant for, as far as a CPU goes.

``python -m fixtures.arguments.released`` gets the packages; ``tox run -e npu-deployments`` does
that and runs this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.arguments import released
from fixtures.arguments.record import record_vllm, record_wheel
from pytest_qwenvl.engines.accepted_arguments import parser_complaints
from pytest_qwenvl.engines.command import command_options, engine_arguments, profile_environment
from pytest_qwenvl.engines.endpoint import tiny_picture
from pytest_qwenvl.engines.interpreter import Interpreter, probe
from pytest_qwenvl.engines.offline import start_offline
from pytest_qwenvl.engines.server import start_server
from pytest_qwenvl.profile import Deployment, Engine, ModelProfile
from tests.conformance.test_npu_deployments import ON_NPUS, PROFILES, SHIPPED
from tests.engines.recorded import recorded_names

pytestmark = [pytest.mark.engine, pytest.mark.nightly]

# What a CPU cannot do: quantised weights of Ascend's format, the NPU's graphs and its memory.
NPU_ONLY = {"quantization", "compilation_config", "additional_config", "gpu_memory_utilization"}
# What it needs instead.
CPU_ONLY: dict[str, Any] = {"enforce_eager": True}


def portable(profile: ModelProfile, shipped: Deployment) -> tuple[ModelProfile, Deployment]:
    """A deployment with its NPU-only parts left out, on the reference checkpoint of its family."""
    names = recorded_names("0.23.0").variables
    arguments = engine_arguments(profile, shipped, "npu", ON_NPUS)
    environment = profile_environment(profile, shipped, "npu", ON_NPUS)
    kept = {name: value for name, value in arguments.items() if name not in NPU_ONLY}
    variables = {
        name: value
        for name, value in environment.items()
        if name in names or name.startswith("OMP_")
    }
    reference = PROFILES[f"{profile.family}-tiny"]
    deployment = shipped.model_copy(
        update={
            "arguments": {**kept, **CPU_ONLY},
            "environment": variables,
            "start_timeout": 600.0,
        }
    )
    engine = {"cpu": Engine(environment={"VLLM_CPU_KVCACHE_SPACE": "1"})}
    alone = {"engine": engine, "deployments": [deployment], "accuracy": [], "latency": []}
    return reference.model_copy(update=alone), deployment


def kinds() -> list[Any]:
    """One deployment of every kind that the published models' differ in, once portable."""
    found: dict[str, Any] = {}
    for profile in PROFILES.values():
        for shipped in () if profile.reference else profile.deployments:
            _, one = portable(profile, shipped)
            key = json.dumps([one.mode, one.npus, one.arguments, one.environment], sort_keys=True)
            found.setdefault(key, pytest.param(profile, shipped, id=f"{profile.name}/{one.name}"))
    return list(found.values())


@pytest.fixture(scope="module")
def interpreter() -> Interpreter:
    path = released.interpreter()
    if path is None:
        pytest.skip("no vLLM 0.23.0: python -m fixtures.arguments.released gets it (6 GB)")
    return probe(path)


def test_the_records_are_the_real_packages(interpreter):
    wheel = released.wheel()
    assert wheel is not None, "python -m fixtures.arguments.released"
    records = {**record_vllm(interpreter.path), **record_wheel(wheel)}
    assert len(records) == 3
    for file, text in records.items():
        recorded = file.read_text(encoding="utf-8")
        if file.name.startswith("vllm-ascend"):
            # Every Python and architecture has a wheel of its own, with the same source.
            assert facts(recorded) == facts(text)
        else:
            assert recorded == text, file.name


def facts(record: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(record)
    return {name: content[name] for name in ("variables", "additional_config")}


def test_every_shipped_command_parses(interpreter):
    cases = [case.values for case in SHIPPED]
    commands = [
        ["some/model", *command_options(engine_arguments(profile, shipped, "npu", ON_NPUS))]
        for profile, shipped in cases
    ]
    assert len(commands) >= 34
    wrong = [["some/model", "--max-num-seqs", "many"], ["some/model", "--no-such-option"]]
    *shipped, value, name = parser_complaints(interpreter, [*commands, *wrong])
    assert shipped == [None] * len(commands)
    assert value is not None and "--max-num-seqs" in value
    assert name is not None and "--no-such-option" in name


@pytest.mark.parametrize(("published", "shipped"), kinds())
def test_on_a_cpu_it_serves(interpreter, published, shipped, tmp_path):
    profile, deployment = portable(published, shipped)
    assert profile.weights.path is not None
    weights = (profile.path.parent / profile.weights.path).resolve()
    where: dict[str, Any] = {
        "interpreter": interpreter,
        "weights": weights,
        "backend": "cpu",
        "devices": tuple(range(deployment.npus)),
        "run_directory": Path(tmp_path),
    }
    if deployment.mode == "serve":
        # Ready means that a text and an image request were answered.
        server = start_server(profile, deployment, **where)
        try:
            (listed,) = server.request("GET", "/v1/models").json()["data"]
            assert listed["max_model_len"] == deployment.arguments["max_model_len"]
        finally:
            server.stop()
        return
    llm = start_offline(profile, deployment, **where)
    try:
        picture = {"type": "image_url", "image_url": {"url": tiny_picture()}}
        content = [picture, {"type": "text", "text": "What colour is it?"}]
        (answer,) = llm.generate([[{"role": "user", "content": content}]], max_tokens=4)
        assert answer.token_ids
    finally:
        llm.stop()
