"""What the tests of engines share: a profile, an interpreter with a stand-in vLLM, and waiting."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_qwenvl.engines.interpreter import Interpreter
from pytest_qwenvl.profile import ModelProfile

FAKE_PACKAGES = Path(__file__).with_name("fake_packages")
PATIENCE = 120.0  # seconds before something that must happen counts as not happening


def make_profile(**changes: Any) -> ModelProfile:
    source = "made up for the tests"
    content: dict[str, Any] = {
        "schema_version": 1,
        "name": "tiny",
        "title": "Tiny",
        "family": "qwen3-vl",
        "weights": {"huggingface": "Qwen/Tiny"},
        "image": {
            "patch_size": 16,
            "merge_size": 2,
            "min_pixels": 4096,
            "max_pixels": 1 << 24,
            "tutorial_text_tokens": 29,
            "source": source,
        },
        "understanding": {
            "items": 1,
            "agreement": 0.5,
            "floors": {"colour": 0.5},
            "source": source,
        },
        "engine": {
            "cpu": {
                "arguments": {
                    "dtype": "bfloat16",
                    "max_model_len": 4096,
                    "enforce_eager": True,
                    "max_num_seqs": 16,
                },
                "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
            },
            "npu": {"arguments": {"max_model_len": 16384}},
        },
        "deployments": [
            {"name": "serve-1npu", "mode": "serve", "npus": 1, "images": 3},
            {"name": "serve-2npu", "mode": "serve", "npus": 2, "images": 3},
            {"name": "offline-1npu", "mode": "offline", "npus": 1, "images": 2},
        ],
    }
    return ModelProfile.model_validate({**content, **changes})


def fake_interpreter() -> Interpreter:
    """This very Python; :func:`fake_environment` gives it the stand-in vLLM."""
    return Interpreter(
        path=Path(sys.executable),
        versions={"vllm": "0.32.0+cpu", "lm_eval": None},
        platform="cpu",
        distribution="vllm",
        python_version="3.11",
        site_packages=Path("/nonexistent"),
    )


def fake_environment(behaviour: str = "") -> dict[str, str]:
    return {"PYTHONPATH": str(FAKE_PACKAGES), "FAKE_VLLM": behaviour}


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE:.0f} s"
        time.sleep(0.02)


def environment_with(**values: str) -> dict[str, str]:
    return {**os.environ, **values}
