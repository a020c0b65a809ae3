"""Requests that warm a server up for a load without being part of it.

The client's own warm-up sends its first measured request again and again, which leaves exactly
that one in every cache. These have other words and other pixels, of every size the load has, so
that kernels are compiled and graphs captured for each shape before anything is measured.
"""

from __future__ import annotations

import ast
import base64
import io
import random
import string
from collections.abc import Iterator
from typing import Any

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.measure.bench_command import INPUT_TOKENS, PICTURE_SIZES
from pytest_qwenvl.profile_latency import LatencyWorkload

Request = tuple[str, dict[str, Any]]
"""A path and the body to send there."""


def picture_sizes(workload: LatencyWorkload) -> list[tuple[int, int]]:
    """Height and width (pixels) of every size of picture that the load has; none for text.

    Raises:
        UsageProblem: ``random_mm_bucket_config`` is no table of sizes.
    """
    if not workload.images_per_request:
        return []
    given = workload.arguments.get("random_mm_bucket_config", PICTURE_SIZES)
    try:
        table: dict[tuple[int, int, int], float] = ast.literal_eval(str(given))
        return sorted(
            (int(height), int(width))
            for (height, width, frames), share in table.items()
            if share > 0 and frames == 1
        )
    except (AttributeError, SyntaxError, TypeError, ValueError) as problem:
        raise UsageProblem(
            f"latency workload {workload.name!r}: random_mm_bucket_config {given!r} is no table of "
            f"(height, width, 1) and share, such as {PICTURE_SIZES!r}: {problem}"
        ) from problem


def warm_up_requests(workload: LatencyWorkload, model: str, seed: int) -> Iterator[Request]:
    """``warm_ups`` requests for each size of picture, or as many of text.

    Raises:
        UsageProblem: sizes that cannot be read.
    """
    chance = random.Random(f"warm-up {seed}")
    sizes = picture_sizes(workload)
    words = max(1, int(str(workload.arguments.get("random_input_len", INPUT_TOKENS))) // 2)
    chat = bool(sizes) or "chat" in str(workload.arguments.get("endpoint", ""))
    common: dict[str, Any] = {
        "model": model,
        "max_tokens": workload.output_tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    for size in sizes or [(0, 0)]:
        for _ in range(workload.warm_ups):
            text = _words(chance, words)
            if not chat:
                yield "/v1/completions", common | {"prompt": text}
                continue
            content: list[dict[str, Any]] = [{"type": "text", "text": text}]
            for _ in range(workload.images_per_request):
                content.append({"type": "image_url", "image_url": {"url": _noise(chance, *size)}})
            messages = [{"role": "user", "content": content}]
            yield "/v1/chat/completions", common | {"messages": messages}


def _words(chance: random.Random, count: int) -> str:
    return " ".join("".join(chance.choices(string.ascii_lowercase, k=3)) for _ in range(count))


def _noise(chance: random.Random, height: int, width: int) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.frombytes("RGB", (width, height), chance.randbytes(3 * width * height)).save(file, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
