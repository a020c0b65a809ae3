"""Stands in for vLLM: the offline ``LLM`` of the stand-in engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.stand_in_engine.defects import planted
from tests.stand_in_engine.model import Model, Turn, pieces
from tests.stand_in_engine.occupying import load, occupy
from tests.stand_in_engine.server import family_of


class SamplingParams:
    """Sampling parameters, of which only ``max_tokens`` counts: the stand-in is greedy."""

    def __init__(self, max_tokens: int, **others: Any) -> None:
        self.max_tokens = max_tokens
        self.others = others


@dataclass
class Completion:
    text: str
    token_ids: list[int]
    finish_reason: str


@dataclass
class Output:
    outputs: list[Completion]
    prompt_token_ids: list[int]


class LLM:
    """The offline engine."""

    def __init__(self, *, model: str, limit_mm_per_prompt: dict[str, int], **others: Any) -> None:
        defects = planted()
        print("INFO 01-01 00:00:00 [stand_in.py:1] Starting to load model", model, flush=True)  # noqa: T201
        occupy()
        load()
        self._model = Model(family_of(model))
        self._limit = limit_mm_per_prompt["image"]
        self._differs = "offline-differs" in defects

    def generate(
        self, prompts: list[dict[str, Any]], sampling_params: SamplingParams, use_tqdm: bool
    ) -> list[Output]:
        """Answer prompts as the stand-in's chat template writes them."""
        return [self._answer(prompt, sampling_params.max_tokens) for prompt in prompts]

    def _answer(self, prompt: dict[str, Any], most: int) -> Output:
        images = list(prompt.get("multi_modal_data", {}).get("image", []))
        if len(images) > self._limit:
            raise ValueError(f"At most {self._limit} image(s) may be provided in one prompt.")
        turns = []
        for role, parts in json.loads(prompt["prompt"]):
            seen = tuple(images.pop(0) if part is None else part for part in parts)
            turns.append(Turn(role, seen))
        tokens = pieces(self._model.answer(turns) + (" Or so." if self._differs else ""))
        cut = len(tokens) + 1 > most
        tokens = tokens[:most]
        completion = Completion(
            "".join(tokens), list(range(len(tokens) + (not cut))), "length" if cut else "stop"
        )
        return Output([completion], [0] * self._model.prompt_tokens(turns))
