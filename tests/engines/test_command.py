from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from pytest_qwenvl.engines.command import (
    Launch,
    command_options,
    engine_arguments,
    engine_environment,
    offline_options,
    serve_launch,
    served_model_name,
)
from pytest_qwenvl.errors import UsageProblem
from tests.engines.support import make_profile


def changed(**changes: object) -> object:
    return make_profile().deployment("serve-1npu").model_copy(update=changes)


def test_the_deployment_overlays_the_profile():
    profile = make_profile()
    deployment = changed(arguments={"max_model_len": 8192, "dtype": None})
    arguments = engine_arguments(profile, deployment, "cpu")
    assert arguments == {
        "dtype": None,
        "max_model_len": 8192,
        "enforce_eager": True,
        "max_num_seqs": 16,
        "limit_mm_per_prompt": {"image": 3, "video": 0},
    }


def test_devices_and_image_limit_cannot_be_contradicted():
    deployment = changed(
        npus=2, arguments={"tensor_parallel_size": 8, "limit_mm_per_prompt": {"image": 99}}
    )
    arguments = engine_arguments(make_profile(), deployment, "npu")
    assert arguments["tensor_parallel_size"] == 2
    assert arguments["limit_mm_per_prompt"] == {"image": 3, "video": 0}


def test_options_have_the_form_vllm_reads():
    options = command_options(
        {
            "enforce_eager": True,
            "enable_prefix_caching": False,
            "quantization": None,
            "limit_mm_per_prompt": {"image": 3, "video": 0},
            "cudagraph_capture_sizes": [1, 2],
            "max_model_len": 4096,
            "gpu_memory_utilization": 0.9,
        }
    )
    assert options == [
        "--enforce-eager",
        "--no-enable-prefix-caching",
        *("--limit-mm-per-prompt", '{"image":3,"video":0}'),
        *("--cudagraph-capture-sizes", "1", "2"),
        *("--max-model-len", "4096"),
        *("--gpu-memory-utilization", "0.9"),
    ]


@pytest.mark.parametrize(
    ("mask", "expected"), [(None, "0,2"), ("4,5,6,7", "4,6"), (" 3, 1 ,0", "3,0")]
)
def test_leased_npus_are_mapped_through_the_callers_mask(mask, expected):
    environment = engine_environment(
        make_profile(), changed(npus=2), "npu", devices=(0, 2), modelscope=False, mask=mask
    )
    assert environment["ASCEND_RT_VISIBLE_DEVICES"] == expected
    assert "VLLM_CPU_OMP_THREADS_BIND" not in environment


def test_a_device_outside_the_mask_is_a_usage_problem():
    with pytest.raises(UsageProblem, match=r"device 2 .* 2 that .*'4,5'.*--npus"):
        engine_environment(
            make_profile(), changed(npus=2), "npu", devices=(0, 2), modelscope=False, mask="4,5"
        )


def test_virtual_devices_become_one_core_a_rank():
    environment = engine_environment(
        make_profile(), changed(npus=2), "cpu", devices=(0, 1), modelscope=False
    )
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "0|1"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert environment["VLLM_NO_USAGE_STATS"] == "1"
    assert "ASCEND_RT_VISIBLE_DEVICES" not in environment


def test_preload_takes_what_exists_and_keeps_the_callers(tmp_path):
    here = tmp_path / "libjemalloc.so.2"
    here.touch()
    engine = {"npu": {"preload": ["/nonexistent/libjemalloc.so", str(here)]}}
    profile = make_profile(engine=engine)
    arguments = {"devices": (0,), "modelscope": False}
    alone = engine_environment(profile, changed(), "npu", **arguments, inherited={})
    assert alone["LD_PRELOAD"] == str(here)
    both = engine_environment(
        profile, changed(), "npu", **arguments, inherited={"LD_PRELOAD": "/a.so"}
    )
    assert both["LD_PRELOAD"] == f"{here}:/a.so"


def test_no_preload_leaves_the_variable_alone():
    environment = engine_environment(
        make_profile(), changed(), "npu", devices=(0,), modelscope=False, inherited={}
    )
    assert "LD_PRELOAD" not in environment


@pytest.mark.parametrize(
    ("modelscope", "local", "used", "offline"),
    [
        (True, False, "True", None),
        (False, False, "False", None),
        # A hub is not asked, nor its client imported, for weights that are here.
        (True, True, "False", "1"),
    ],
)
def test_which_hub_is_asked(modelscope, local, used, offline):
    environment = engine_environment(
        make_profile(),
        changed(environment={"VLLM_USE_MODELSCOPE": "whatever"}),
        "npu",
        devices=(0,),
        modelscope=modelscope,
        weights_are_local=local,
    )
    assert environment["VLLM_USE_MODELSCOPE"] == used
    assert environment.get("HF_HUB_OFFLINE") == offline


def test_serve_launch_is_the_interpreters_own_vllm(tmp_path):
    launch = serve_launch(
        make_profile(),
        make_profile().deployment("serve-2npu"),
        backend="cpu",
        python=Path("/some where/python"),
        weights=tmp_path,
        served_model_name="Qwen/Tiny",
        host="127.0.0.1",
        port=4711,
        devices=(0, 1),
        extra_environment={"PYTHONPATH": "/overlay"},
    )
    assert launch.argv[:5] == (
        *("/some where/python", "-m", "vllm.entrypoints.cli.main", "serve"),
        str(tmp_path),
    )
    options = dict(zip(launch.argv[5::2], launch.argv[6::2], strict=False))
    assert options["--host"] == "127.0.0.1"
    assert options["--port"] == "4711"
    assert options["--served-model-name"] == "Qwen/Tiny"
    assert launch.argv[-2:] == ("--tensor-parallel-size", "2")
    assert launch.environment["PYTHONPATH"] == "/overlay"
    assert launch.environment["HF_HUB_OFFLINE"] == "1"


def test_shell_line_reads_back_as_the_command():
    launch = Launch(("/a b/python", "--x", '{"image":3}'), {"BIND": "0|1", "EMPTY": ""})
    line = launch.shell_line()
    assert line.startswith("BIND='0|1' EMPTY='' ")
    assert shlex.split(line) == ["BIND=0|1", "EMPTY=", *launch.argv]


def test_offline_options_are_keyword_arguments_without_nothings():
    deployment = changed(arguments={"quantization": None, "enforce_eager": False})
    options = offline_options(make_profile(), deployment, backend="cpu", weights="Qwen/Tiny")
    assert options["model"] == "Qwen/Tiny"
    assert options["enforce_eager"] is False
    assert "quantization" not in options
    assert json.loads(json.dumps(options)) == options


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"huggingface": "Qwen/A", "modelscope": "Qwen/B"}, "Qwen/A"),
        ({"modelscope": "Qwen/B"}, "Qwen/B"),
        ({"path": "../weights"}, "tiny"),
    ],
)
def test_served_name(weights, expected):
    assert served_model_name(make_profile(weights=weights)) == expected
