"""A stand-in for vLLM whose answers tell what was asked; ``FAKE_VLLM`` says how it fails."""

# ruff: noqa: T201
from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class SamplingParams:
    max_tokens: int
    temperature: float = 1.0
    seed: int | None = None
    top_p: float = 1.0


@dataclass
class _Completion:
    text: str
    token_ids: list[int]
    finish_reason: str = "stop"


@dataclass
class _Output:
    outputs: list[_Completion]
    prompt_token_ids: list[int] = field(default_factory=list)


class LLM:
    def __init__(self, **options: Any) -> None:
        behave = os.environ.get("FAKE_VLLM", "")
        print(
            "INFO 01-01 00:00:00 [fake.py:1] Starting to load model", options["model"], flush=True
        )
        if behave.startswith("exit:"):
            print("fake engine: giving up", file=sys.stderr, flush=True)
            sys.exit(int(behave.partition(":")[2]))
        if behave == "hang":
            time.sleep(3600)
        self._limit = options["limit_mm_per_prompt"]["image"]
        self.llm_engine = self.engine_core = self

    def shutdown(self) -> None:
        print("fake engine: shut down", flush=True)

    def generate(
        self, prompts: list[dict[str, Any]], sampling_params: SamplingParams, use_tqdm: bool
    ) -> list[_Output]:
        outputs = []
        for prompt in prompts:
            images = prompt.get("multi_modal_data", {}).get("image", [])
            if len(images) > self._limit:
                raise ValueError(f"At most {self._limit} image(s) may be provided in one prompt.")
            if "please die" in prompt["prompt"]:
                print("fake engine: dying", flush=True)
                os._exit(7)
            if "please hang" in prompt["prompt"]:
                time.sleep(3600)
            sizes = " ".join(f"{image.width}x{image.height}" for image in images)
            text = f"{prompt['prompt']}|{sizes}|{sampling_params.max_tokens}"
            outputs.append(_Output([_Completion(text, list(range(len(text))))], [0] * 5))
        return outputs
