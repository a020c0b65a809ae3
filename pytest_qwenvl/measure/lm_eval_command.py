"""The command lines of ``lm_eval``: the tutorial's and a served model's; items logged (pure)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from pytest_qwenvl.profile import ModelProfile
from pytest_qwenvl.profile_accuracy import OFFLINE_HARNESS, SERVED_HARNESS, AccuracyFloor
from pytest_qwenvl.profile_fields import ArgumentValue

# Text that lm-eval's key=value form hands on as the same string: it would split others at commas,
# or turn them into numbers, booleans, None or Python literals.
_PLAIN_TEXT = re.compile(r"[A-Za-z_./][\w./\-]*")
_NOT_TEXT = {"true", "false", "none", "inf", "infinity", "nan"}

DEFAULT_CONCURRENT = 8
"""Requests that a served model has at once, unless the profile says otherwise: enough to keep an
engine's batches full of short answers, and few enough that none waits for its turn."""


def lm_eval_arguments(
    profile: ModelProfile,
    floor: AccuracyFloor,
    *,
    weights: str | Path,
    output_path: Path,
    include_path: Path | None = None,
    max_images: int | None = None,
    engine_arguments: Mapping[str, ArgumentValue] | None = None,
) -> list[str]:
    """Arguments of the ``lm_eval`` command: the tutorial's, with every item logged (pure).

    ``--model_args`` is written as ``key=value,key=value`` where that says everything, else as the
    JSON object that lm-eval also accepts, which a dict such as ``limit_mm_per_prompt`` or a path
    with a comma needs.

    Args:
        profile: of the model; named in the error for arguments that do not fit.
        floor: the task and its own model arguments, which win over ``engine_arguments``.
        weights: directory, or id on a hub.
        output_path: an empty directory; lm-eval writes results and samples below it.
        include_path: folder with the task's definition, for a task that lm-eval does not ship.
        max_images: most images in one prompt. lm-eval makes it the engine's limit *and drops
            further images without a word*, which :func:`judge_accuracy` looks for.
        engine_arguments: vLLM's, by their own names with underscores. ``limit_mm_per_prompt`` is
            left out when ``max_images`` is given: lm-eval replaces it.

    Raises:
        ValueError: the floor is of another harness.
    """
    if floor.harness != OFFLINE_HARNESS:
        raise ValueError(f"{profile.name}: {floor.task}: the floor is of {floor.harness}")
    model: dict[str, ArgumentValue] = {"pretrained": str(weights)}
    model.update(
        {name: value for name, value in (engine_arguments or {}).items() if value is not None}
    )
    model.update(floor.model_arguments)
    if max_images is not None:
        model.pop("limit_mm_per_prompt", None)
        model["max_images"] = max_images
    batch_size = str(floor.batch_size)
    flags = ("--trust_remote_code",)
    return _task_arguments(floor, model, batch_size, include_path, output_path, flags)


def served_arguments(
    profile: ModelProfile,
    floor: AccuracyFloor,
    *,
    base_url: str,
    model: str,
    output_path: Path,
    include_path: Path | None = None,
    max_images: int,
) -> list[str]:
    """Arguments of the ``lm_eval`` command that asks a server's chat completions (pure).

    No key: lm-eval takes it from ``OPENAI_API_KEY``. No tokenizer: the server applies its own chat
    template. Each request is sent once, since an answer that came at the second try is a failure
    that nobody would see.

    Args:
        base_url: of the server, without ``/v1``.
        model: the name to ask for.
        max_images: most images in one prompt; lm-eval sends one, and drops the others without a
            word, unless it is told.

    Raises:
        ValueError: the floor is of another harness.
    """
    if floor.harness != SERVED_HARNESS:
        raise ValueError(f"{profile.name}: {floor.task}: the floor is of {floor.harness}")
    told: dict[str, ArgumentValue] = {
        "num_concurrent": DEFAULT_CONCURRENT,
        **floor.model_arguments,
        "model": model,
        "base_url": f"{base_url}/v1/chat/completions",
        "tokenizer_backend": "none",
        "max_images": max_images,
        "max_retries": 1,
    }
    # Of one conversation, whatever lm-eval's default is: it warns of every other number.
    return _task_arguments(floor, told, "1", include_path, output_path)


def _task_arguments(
    floor: AccuracyFloor,
    model: Mapping[str, ArgumentValue],
    batch_size: str,
    include_path: Path | None,
    output_path: Path,
    flags: tuple[str, ...] = (),
) -> list[str]:
    arguments = ["--model", floor.harness, "--model_args", _model_arguments(model)]
    arguments += ["--tasks", floor.task, "--batch_size", batch_size]
    if include_path is not None:
        arguments += ["--include_path", str(include_path)]
    arguments += ["--apply_chat_template", *flags]
    return [*arguments, "--output_path", str(output_path), "--log_samples"]


def _model_arguments(model: Mapping[str, ArgumentValue]) -> str:
    plain = {name: _plain(value) for name, value in model.items()}
    if None in plain.values():
        return json.dumps(dict(model))
    return ",".join(f"{name}={text}" for name, text in plain.items())


def _plain(value: ArgumentValue) -> str | None:
    """The value in lm-eval's key=value form; None where that form would change it."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return str(value) if value >= 0 else None
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) and not value.is_integer() else None
    if isinstance(value, str):
        fits = _PLAIN_TEXT.fullmatch(value) and value.lower() not in _NOT_TEXT
        return value if fits else None
    return None
