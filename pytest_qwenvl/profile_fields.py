"""What every table of a profile is made of: its strict base, and the kinds of its values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator, StringConstraints

from pytest_qwenvl.version_binding import check_argument, check_variable

Scalar = str | int | float | bool
ArgumentValue = Scalar | dict[str, object] | list[object] | None
# What a profile has in their place may be bound to versions: see version_binding.
BoundArgument = Annotated[ArgumentValue, AfterValidator(check_argument)]
BoundVariable = Annotated[str | dict[str, object] | list[object], PlainValidator(check_variable)]
BackendName = Literal["npu", "cpu"]
Mode = Literal["offline", "serve"]
Family = Literal["qwen2.5-vl", "qwen3-vl"]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.\-]*$")]
Source = Annotated[str, StringConstraints(min_length=8)]
LatencyMetric = Literal["ttft", "tpot", "itl", "e2el"]
Capability = Literal[
    "auto_tools",
    "completions",
    "detokenize",
    "ignore_eos",
    "include_stop_str_in_output",
    "json_schema",
    "load",
    "logprobs",
    "metrics",
    "min_p",
    "min_tokens",
    "mm_processor_kwargs",
    "openapi",
    "ping",
    "responses",
    "sleep",
    "structured_outputs",
    "tokenize",
    "tools",
    "top_k",
    "version",
    "video",
]


class Model(BaseModel):
    """Base of every table in a profile: frozen, strict, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
