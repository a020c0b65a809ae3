"""The command that makes a load: arguments of ``vllm bench serve`` from a workload (pure)."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.profile_fields import ArgumentValue
from pytest_qwenvl.profile_latency import LatencyWorkload

RESULT_FILENAME = "bench.json"
"""Name of the result file within the result directory."""

REPORTED_PERCENTILES = (50.0, 90.0, 95.0, 99.0)
"""Percentiles that the client reports and the report shows, whatever is gated."""

INPUT_TOKENS = 200
"""Tokens of text in a prompt unless the profile says otherwise: the tutorial's."""

PICTURE_SIZES = "{(256, 256, 1): 0.5, (720, 1280, 1): 0.5}"
"""Sizes of pictures (height, width, frames) and their shares unless the profile says otherwise."""

_IMAGES = "random_mm_base_items_per_request"

# Options that would change what is measured, or where it is written, behind the judge's back.
_NOT_FOR_PROFILES = {
    "append_result": "the result file holds one load",
    "base_url": "the suite knows the server",
    "host": "the suite knows the server",
    "port": "the suite knows the server",
    "model": "the suite knows the model",
    "served_model_name": "the suite knows the model",
    "tokenizer": "the suite knows the model",
    "ignore_eos": "output lengths are checked, so it is always set",
    "max_concurrency": "it delays sending and hides the delay from the measured latency",
    "metric_percentiles": "they follow from the budgets",
    "num_prompts": "set num_prompts of the workload",
    "num_warmups": "the client would repeat its first measured request; set warm_ups",
    "ready_check_timeout_sec": "it would send the first measured request once more before",
    "output_len": "set output_tokens of the workload",
    "percentile_metrics": "all four are always asked for",
    "ramp_up_strategy": "the load is judged at one declared rate",
    _IMAGES: "it differs from images_per_request of the workload",
    "random_output_len": "set output_tokens of the workload",
    "request_rate": "set request_rate of the workload",
    "result_dir": "the suite reads the result",
    "result_filename": "the suite reads the result",
    "save_detailed": "it is always set",
    "save_result": "it is always set",
    "seed": "the suite sets it and records it",
}


def bench_arguments(
    workload: LatencyWorkload,
    *,
    base_url: str,
    model: str,
    tokenizer: str | Path,
    result_directory: Path,
    seed: int,
) -> list[str]:
    """Arguments of the ``vllm`` command that make the workload's load (pure).

    The result is in ``result_directory / RESULT_FILENAME``. A text workload is the tutorial's
    (``--dataset-name random --random-input-len 200``); one with images goes through chat
    completions with generated pictures. Options of the profile are added, or replace these.

    Args:
        workload: rate, request count, lengths, and options by their own names with underscores.
        base_url: of the server, without ``/v1``.
        model: the name the server lists.
        tokenizer: directory or name of the tokenizer with which prompts are made.
        result_directory: created by the client.
        seed: of prompts, pictures and arrival times.

    Raises:
        UsageProblem: the profile sets an option that is not a profile's to set, with the reason.
    """
    for name, value in workload.arguments.items():
        plain = name.replace("-", "_")
        if plain == _IMAGES and value == workload.images_per_request:
            continue
        if plain in _NOT_FOR_PROFILES:
            raise UsageProblem(
                f"latency workload {workload.name!r} sets {name!r} in its arguments: not for a "
                f"profile to set: {_NOT_FOR_PROFILES[plain]}"
            )
    percentiles = {*REPORTED_PERCENTILES, *(budget.percentile for budget in workload.budgets)}
    options: dict[str, ArgumentValue] = {
        "base_url": base_url,
        "model": model,
        "tokenizer": str(tokenizer),
        **(_image_load(workload) if workload.images_per_request else _TEXT_LOAD),
        "random_input_len": INPUT_TOKENS,
        "random_output_len": workload.output_tokens,
        "num_prompts": workload.num_prompts,
        "request_rate": workload.request_rate,
        # Both would send the first measured request before it is measured.
        "num_warmups": 0,
        "ready_check_timeout_sec": 0,
        "temperature": 0,
        "ignore_eos": True,
        "seed": seed,
        "percentile_metrics": "ttft,tpot,itl,e2el",
        "metric_percentiles": ",".join(f"{percentile:g}" for percentile in sorted(percentiles)),
        "save_result": True,
        "save_detailed": True,
        "result_dir": str(result_directory),
        "result_filename": RESULT_FILENAME,
    }
    options.update({name.replace("-", "_"): value for name, value in workload.arguments.items()})
    arguments = ["bench", "serve"]
    for name, value in options.items():
        arguments += _option(name, value)
    return arguments


_TEXT_LOAD: dict[str, ArgumentValue] = {"dataset_name": "random"}


def _image_load(workload: LatencyWorkload) -> dict[str, ArgumentValue]:
    images = workload.images_per_request
    return {
        "backend": "openai-chat",
        "endpoint": "/v1/chat/completions",
        "dataset_name": "random-mm",
        _IMAGES: images,
        "random_mm_bucket_config": PICTURE_SIZES,
        "random_mm_limit_mm_per_prompt": {"image": images, "video": 0},
    }


def _option(name: str, value: ArgumentValue) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [flag] if value else [f"--no-{flag.removeprefix('--')}"]
    if isinstance(value, dict | list):
        return [flag, json.dumps(value)]
    return [flag, str(value)]
