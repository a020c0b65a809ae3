"""``vllm bench latency`` and ``throughput``: what an LLM does on its own, reported only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_qwenvl.engines.command import command_options
from pytest_qwenvl.errors import MeasurementError, UsageProblem
from pytest_qwenvl.measure.columns import column, is_duration, numbers
from pytest_qwenvl.measure.statistics import percentile_interval
from pytest_qwenvl.measure.strict_json import read_object
from pytest_qwenvl.profile_fields import ArgumentValue
from pytest_qwenvl.profile_latency import OfflineBench

_OWN = {"model", "tokenizer", "output_json"}
_REQUIRED = {
    "latency": ("avg_latency",),
    "throughput": ("elapsed_time", "num_requests", "requests_per_second", "tokens_per_second"),
}


@dataclass(frozen=True)
class OfflineFigures:
    """What a program measured.

    Attributes:
        figures: its own numbers by its own keys; seconds, and things per second.
        latencies: seconds of each batch; empty for ``throughput``.
    """

    path: Path
    figures: Mapping[str, float]
    latencies: tuple[float, ...]

    def as_evidence(self) -> dict[str, Any]:
        """JSON values; of latencies also the median with its 95 % interval (seconds)."""
        values: dict[str, Any] = {"result_file": str(self.path), "figures": dict(self.figures)}
        if self.latencies:
            median = percentile_interval(self.latencies, 50, 0.95)
            values["latencies"] = list(self.latencies)
            values["median_latency"] = median.estimate
            values["median_interval"] = [median.low, median.high]
        return values


def offline_bench_arguments(
    bench: OfflineBench,
    *,
    weights: str | Path,
    result: Path,
    engine_arguments: Mapping[str, ArgumentValue],
) -> list[str]:
    """Arguments of the ``vllm`` command (pure); those of the profile win over the engine's.

    Raises:
        UsageProblem: the profile sets what the suite knows: model, tokenizer or result file.
    """
    given = {name.replace("-", "_"): value for name, value in bench.arguments.items()}
    if own := sorted(_OWN & given.keys()):
        raise UsageProblem(
            f"offline_bench {bench.program!r} sets {', '.join(own)} in its arguments: not for a "
            "profile to set"
        )
    options: dict[str, ArgumentValue] = {
        "model": str(weights),
        **engine_arguments,
        **given,
        "output_json": str(result),
    }
    return ["bench", bench.program, *command_options(options)]


def read_offline_bench(path: Path, program: str) -> OfflineFigures:
    """Read what ``--output-json`` wrote.

    Raises:
        MeasurementError: the file is missing, truncated or no JSON; a number is missing, no number
            or not above 0.
    """
    data = read_object(path, f"vllm bench {program}")
    figures = numbers(data, path)
    for key in _REQUIRED[program]:
        if figures.get(key, 0.0) <= 0:
            raise MeasurementError(
                f"{path}: {key} is {data.get(key)!r}; expected a number above 0: nothing was "
                "measured"
            )
    latencies: list[float] = []
    if program == "latency":
        latencies = column(data, "latencies", is_duration, path)
        if not latencies or min(latencies) <= 0:
            raise MeasurementError(f"{path}: latencies {latencies}: no batch was measured")
    return OfflineFigures(path, figures, tuple(latencies))
