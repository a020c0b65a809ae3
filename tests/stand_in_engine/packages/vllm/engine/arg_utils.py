"""Engine arguments in small: those that profiles of the stand-in may have."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class EngineArgs:
    model: str = ""
    dtype: str = "auto"
    max_model_len: int = 4096
    max_num_seqs: int = 16
    tensor_parallel_size: int = 1
    enforce_eager: bool = False
    limit_mm_per_prompt: dict[str, int] = field(default_factory=dict)


AsyncEngineArgs = EngineArgs
