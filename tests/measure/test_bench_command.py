"""The command line that makes a load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.measure.bench_command import bench_arguments
from pytest_qwenvl.profile_latency import LatencyBudget, LatencyWorkload


def arguments_of(**kwargs: Any) -> list[str]:
    fields: dict[str, Any] = {
        "name": "text", "deployment": "serve-1npu", "num_prompts": 200, "request_rate": 1.0,
        "output_tokens": 128, "source": "the tutorial's parameters", **kwargs,
    }  # fmt: skip
    return bench_arguments(
        LatencyWorkload(**fields),
        base_url="http://127.0.0.1:8000",
        model="Qwen/Qwen3-VL-8B-Instruct",
        tokenizer="/weights/qwen",
        result_directory=Path("results"),
        seed=7,
    )


def option(arguments: list[str], name: str) -> str:
    assert arguments.count(name) == 1
    return arguments[arguments.index(name) + 1]


def test_text_workload_is_the_tutorials() -> None:
    arguments = arguments_of()
    assert arguments[:2] == ["bench", "serve"]
    for name, value in {
        "--model": "Qwen/Qwen3-VL-8B-Instruct", "--tokenizer": "/weights/qwen",
        "--base-url": "http://127.0.0.1:8000", "--dataset-name": "random",
        "--random-input-len": "200", "--random-output-len": "128", "--num-prompts": "200",
        "--request-rate": "1.0", "--result-dir": "results", "--seed": "7",
        "--percentile-metrics": "ttft,tpot,itl,e2el", "--metric-percentiles": "50,90,95,99",
    }.items():  # fmt: skip
        assert option(arguments, name) == value
    for flag in ("--save-result", "--save-detailed", "--ignore-eos"):
        assert arguments.count(flag) == 1
    # The client would warm up with the first measured request.
    assert (
        option(arguments, "--num-warmups") == option(arguments, "--ready-check-timeout-sec") == "0"
    )
    assert not {"--backend", "--endpoint", "--max-concurrency"} & set(arguments)


def test_image_workload_goes_through_chat() -> None:
    arguments = arguments_of(
        images_per_request=2,
        arguments={"random_mm_bucket_config": "{(64, 64, 1): 1.0}", "random_input_len": 20},
    )
    assert option(arguments, "--backend") == "openai-chat"
    assert option(arguments, "--endpoint") == "/v1/chat/completions"
    assert option(arguments, "--dataset-name") == "random-mm"
    assert option(arguments, "--random-mm-base-items-per-request") == "2"
    limit = json.loads(option(arguments, "--random-mm-limit-mm-per-prompt"))
    assert limit == {"image": 2, "video": 0}
    assert option(arguments, "--random-mm-bucket-config") == "{(64, 64, 1): 1.0}"
    assert option(arguments, "--random-input-len") == "20"


def test_profile_options_replace_and_add() -> None:
    arguments = arguments_of(
        arguments={"trust-remote-code": True, "self_timed": False,
                   "burstiness": None, "extra_body": {"top_k": 1}},
    )  # fmt: skip
    assert "--trust-remote-code" in arguments
    assert "--no-self-timed" in arguments
    assert "--burstiness" not in arguments
    assert option(arguments, "--extra-body") == '{"top_k": 1}'


def test_percentiles_of_budgets_are_asked_for() -> None:
    budget = LatencyBudget(
        hardware="a2", npus=1, metric="ttft", percentile=99.9, budget_ms=1.0, source="invented"
    )
    arguments = arguments_of(budgets=[budget])
    assert option(arguments, "--metric-percentiles") == "50,90,95,99,99.9"


@pytest.mark.parametrize(
    "name",
    ["seed", "max_concurrency", "max-concurrency", "num_prompts", "save_detailed", "num_warmups"],
)
def test_what_a_profile_may_not_set(name: str) -> None:
    with pytest.raises(UsageProblem, match="not for a profile to set") as raised:
        arguments_of(arguments={name: 1})
    assert "'text'" in str(raised.value)
    assert name in str(raised.value)


def test_images_per_request_may_be_repeated_but_not_changed() -> None:
    same = {"random_mm_base_items_per_request": 2}
    arguments = arguments_of(images_per_request=2, arguments=same)
    assert option(arguments, "--random-mm-base-items-per-request") == "2"
    for images in (0, 1):
        with pytest.raises(UsageProblem, match="images_per_request"):
            arguments_of(images_per_request=images, arguments=same)
