from __future__ import annotations

import pytest

from pytest_qwenvl.engines.argument_check import (
    check_deployment,
    refused_arguments,
    refused_names,
)
from pytest_qwenvl.errors import EngineStartError
from pytest_qwenvl.version_binding import EngineVersions
from tests.engines.recorded import recorded_arguments, recorded_names
from tests.engines.support import make_profile

ACCEPTED = recorded_arguments("0.23.0")
NAMES = recorded_names("0.23.0", "0.23.0")
VERSIONS = EngineVersions("0.23.0", "0.23.0")


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_model_len": 4096},
        {"max_model_len": "16k"},
        {"max_model_len": -1},
        {"max_model_len": "auto"},
        {"gpu_memory_utilization": 0.9},
        {"gpu_memory_utilization": 1},
        {"async_scheduling": True},
        {"enable_prefix_caching": False},
        {"quantization": "ascend"},
        {"quantization": None, "no_such_argument": None},
        {"limit_mm_per_prompt": {"image": 3, "video": 0}},
        {"compilation_config": {"cudagraph_mode": "FULL_DECODE_ONLY"}},
        {"compilation_config.cudagraph_mode": "FULL"},
        {"served_model_name": ["a", "b"]},
        {"dtype": "bfloat16"},
        {"additional_config": {"anything": 1}},
    ],
)
def test_what_vllm_accepts_is_not_refused(arguments):
    assert refused_arguments(arguments, ACCEPTED, "serve") == []


@pytest.mark.parametrize(
    ("name", "value", "why", "certain"),
    [
        ("max_num_seq", 30, "has no --max-num-seq; did you mean 'max_num_seqs'?", True),
        ("enforce_eagre", True, "has no --enforce-eagre; did you mean 'enforce_eager'?", True),
        ("max_num_seqs", False, "has no --no-max-num-seqs", True),
        ("zzz", 1, "`vllm serve` has no --zzz", True),
        ("max_num_seqs", "many", "'many' has none of the forms it reads (integer", False),
        ("max_num_seqs", True, "takes a value, and true is none", False),
        ("enforce_eager", 1, "is a flag, and takes no value such as 1", False),
        ("max_num_seqs", 0.5, "'0.5' has none of the forms", False),
        ("max_num_seqs", [1, 2], "takes one value", False),
        ("dtype", "bf16", "'bf16' is none of auto, bfloat16", False),
        ("compilation_config", {"cudagraph_mod": 1}, "did you mean 'cudagraph_mode'?", False),
        ("compilation_config", "fast", "'fast' has none of the forms it reads (object)", False),
    ],
)
def test_what_it_does_not_is_named(name, value, why, certain):
    (refusal,) = refused_arguments({name: value, "max_model_len": 16}, ACCEPTED, "serve")
    assert refusal.name == name
    assert refusal.certain is certain
    assert why in refusal.why


def test_the_llm_takes_keywords_that_the_command_does_not():
    arguments = {"enforce_eager": False, "swap_space_gb": 4, "hf_token": "x", "dtype": "bf16"}
    named = {it.name: it for it in refused_arguments(arguments, ACCEPTED, "offline")}
    assert set(named) == {"swap_space_gb", "dtype"}
    assert "vllm.LLM takes no such argument" in named["swap_space_gb"].why
    host = refused_arguments({"host": "0.0.0.0"}, ACCEPTED, "offline")
    assert [it.name for it in host] == ["host"]
    assert refused_arguments({"host": "0.0.0.0"}, ACCEPTED, "serve") == []


def test_names_that_nothing_reads():
    environment = ["VLLM_USE_V1_", "VLLM_ASCEND_ENABLE_NZ", "HCCL_BUFFSIZE", "VLLM_LOGGING_LEVEL"]
    config = {
        "enable_flashcom1": True,
        "enable_flashcomm1": True,
        "ascend_compilation_config": {"enable_npugraph": False, "fuse_muls_add": True},
        "dump_config": {"anything": 1},  # a table whose keys are not known
    }
    assert [it.name for it in refused_names(environment, config, NAMES)] == [
        "VLLM_USE_V1_",
        "additional_config.enable_flashcom1",
        "additional_config.ascend_compilation_config.enable_npugraph",
    ]
    without_plugin = refused_names(environment, config, recorded_names("0.23.0"))
    assert [it.name for it in without_plugin] == ["VLLM_USE_V1_", "VLLM_ASCEND_ENABLE_NZ"]
    assert refused_names(environment, config, None) == []


def test_the_message_names_deployment_file_argument_and_version(tmp_path):
    profile = with_arguments({"max_num_seq": 30, "dtype": "bf16"}).model_copy(
        update={"path": tmp_path / "tiny.toml"}
    )
    with pytest.raises(EngineStartError) as caught:
        check(profile, lambda options: pytest.fail("a name needs no parser"))
    message = str(caught.value)
    assert "tiny/serve-1npu: vLLM 0.23.0 does not accept" in message
    assert f"  {tmp_path}/tiny.toml: max_num_seq: `vllm serve` has no --max-num-seq" in message
    assert "did you mean 'max_num_seqs'?" in message
    assert 'max_num_seq = { value = …, vllm = "<0.23.0" }' in message
    assert "dtype" not in message


def test_of_values_the_engines_own_parser_has_the_last_word():
    asked = []

    def parser(said):
        return lambda options: asked.append(options) or said

    profile = with_arguments({"dtype": "bf16"})
    check(profile, parser(None))
    with pytest.raises(EngineStartError, match="its own words: invalid choice: bf16"):
        check(profile, parser("invalid choice: bf16"))
    assert len(asked) == 2
    assert asked[0][0] == "some/model"
    place = asked[0].index("--dtype")
    assert asked[0][place + 1] == "bf16"


def test_a_good_deployment_asks_nobody():
    for mode in ("serve-1npu", "serve-2npu", "offline-1npu"):
        check(make_profile(), lambda options: pytest.fail("nothing to ask"), mode)


def test_a_variable_that_nothing_reads_is_refused():
    profile = with_arguments({}, {"VLLM_ASCEND_ENABLE_NX": "1"})
    with pytest.raises(EngineStartError, match="did you mean 'VLLM_ASCEND_ENABLE_NZ'"):
        check(profile, lambda options: None)


def with_arguments(arguments, environment=None):
    return make_profile(engine={"npu": {"arguments": arguments, "environment": environment or {}}})


def check(profile, parser, name="serve-1npu"):
    deployment = profile.deployment(name)
    check_deployment(profile, deployment, "npu", VERSIONS, ACCEPTED, NAMES, parser)
