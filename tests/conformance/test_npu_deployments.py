"""Every shipped deployment against what the released engine accepts, without an NPU."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pytest_qwenvl.engines.argument_check import check_deployment
from pytest_qwenvl.engines.command import command_options, engine_arguments, profile_environment
from pytest_qwenvl.profile_loading import load_profiles
from pytest_qwenvl.version_binding import EngineVersions
from tests.engines.recorded import RECORDS, recorded_arguments, recorded_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHECKOUT = Path(__file__).parents[2]
PROFILES = load_profiles([CHECKOUT / "conformance" / "profiles"])
SHIPPED = [
    pytest.param(profile, deployment, id=f"{profile.name}/{deployment.name}")
    for profile in PROFILES.values()
    for deployment in profile.deployments
]
ON_NPUS = EngineVersions("0.23.0", "0.23.0")
ON_CPUS = EngineVersions("0.32.0", None)


def no_doubt(options: list[str]) -> str | None:
    pytest.fail(f"a value that vLLM's parser would have to decide: {options}")


def test_all_shipped_deployments_are_here():
    assert len(PROFILES) == 11
    assert len(SHIPPED) >= 34


@pytest.mark.parametrize(("profile", "shipped"), SHIPPED)
def test_vllm_ascend_accepts_it(profile, shipped):
    check_deployment(
        profile,
        shipped,
        "npu",
        ON_NPUS,
        recorded_arguments("0.23.0"),
        recorded_names("0.23.0", "0.23.0"),
        no_doubt,
    )
    assert command_options(engine_arguments(profile, shipped, "npu", ON_NPUS))


@pytest.mark.parametrize(("profile", "shipped"), SHIPPED)
def test_the_embedded_engine_accepts_it(profile, shipped):
    check_deployment(
        profile,
        shipped,
        "cpu",
        ON_CPUS,
        recorded_arguments("0.32.0"),
        recorded_names("0.32.0"),
        no_doubt,
    )


@pytest.mark.parametrize(("profile", "shipped"), SHIPPED)
def test_every_variable_has_an_owner_that_knows_its_value(profile, shipped):
    table = tomllib.loads((RECORDS / "variables.toml").read_text(encoding="utf-8"))
    names = recorded_names("0.23.0", "0.23.0").variables
    environment = profile_environment(profile, shipped, "npu", ON_NPUS)
    assert environment
    for name, value in environment.items():
        if name not in names:
            assert name in table, f"{name}: neither vLLM's nor vllm-ascend's, nor in the table"
            assert re.fullmatch(table[name]["pattern"], value), f"{name}={value}"
            assert len(table[name]["source"]) > 20


@pytest.mark.parametrize("version", ["0.23.0", "0.32.0"])
def test_what_lm_eval_hands_on_is_the_llms(version):
    keywords = recorded_arguments(version).llm_keywords
    handed_on = {
        name
        for it in PROFILES.values()
        for one in it.accuracy
        if one.harness == "vllm-vlm"
        for name in one.model_arguments
    }
    assert handed_on
    assert handed_on <= keywords


def test_what_the_tutorial_sets_for_old_engines_is_bound_to_them():
    profile = PROFILES["qwen2.5-vl-32b-instruct"]
    deployment = profile.deployment("serve-2npu")
    old = EngineVersions("0.10.2", "0.10.2rc1")
    assert profile_environment(profile, deployment, "npu", old)["VLLM_USE_V1"] == "1"
    assert "VLLM_USE_V1" not in profile_environment(profile, deployment, "npu", ON_NPUS)
