"""``vllm bench latency`` and ``throughput``: their command lines, and strict reading of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.errors import MeasurementError, UsageProblem
from pytest_qwenvl.measure.offline_bench import offline_bench_arguments, read_offline_bench
from pytest_qwenvl.profile_latency import OfflineBench

LATENCY = {
    "model_id": "m", "avg_latency": 1.5, "latencies": [1.0, 2.0, 1.5],
    "percentiles": {"50": 1.5},
}  # fmt: skip
THROUGHPUT = {
    "model_id": "m", "elapsed_time": 2.0, "num_requests": 10, "total_num_tokens": 100,
    "requests_per_second": 5.0, "tokens_per_second": 50.0,
}  # fmt: skip


def bench(program: Any = "throughput", **arguments: Any) -> OfflineBench:
    return OfflineBench(
        program=program, deployment="offline-1npu", arguments=arguments,
        source="invented for this test",
    )  # fmt: skip


def written(tmp_path: Path, data: object) -> Path:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(data))
    return path


def test_the_profiles_options_win_over_the_engines() -> None:
    arguments = offline_bench_arguments(
        bench(**{"input-len": 32, "max_model_len": 512}),
        weights="/weights",
        result=Path("out/result.json"),
        engine_arguments={"max_model_len": 4096, "enforce_eager": True},
    )
    assert arguments == [
        "bench", "throughput", "--model", "/weights", "--max-model-len", "512", "--enforce-eager",
        "--input-len", "32", "--output-json", "out/result.json",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["model", "output_json", "output-json", "tokenizer"])
def test_what_a_profile_may_not_set(name: str) -> None:
    with pytest.raises(UsageProblem, match="not for a profile to set"):
        offline_bench_arguments(
            bench(**{name: "x"}), weights="w", result=Path("r"), engine_arguments={}
        )


def test_results_are_read(tmp_path: Path) -> None:
    figures = read_offline_bench(written(tmp_path, LATENCY), "latency")
    evidence = figures.as_evidence()
    assert evidence["figures"] == {"avg_latency": 1.5}
    assert (evidence["latencies"], evidence["median_latency"]) == ([1.0, 2.0, 1.5], 1.5)
    assert evidence["median_interval"] == [None, None]
    figures = read_offline_bench(written(tmp_path, THROUGHPUT), "throughput")
    assert figures.as_evidence()["figures"]["tokens_per_second"] == 50.0
    assert "latencies" not in figures.as_evidence()


@pytest.mark.parametrize(
    ("program", "data"),
    [
        ("latency", {**LATENCY, "latencies": []}),
        ("latency", {**LATENCY, "latencies": [1.0, 0.0]}),
        ("latency", {**LATENCY, "latencies": [1.0, float("nan")]}),
        ("latency", {**LATENCY, "avg_latency": 0}),
        ("latency", THROUGHPUT),
        ("throughput", LATENCY),
        ("throughput", {**THROUGHPUT, "num_requests": 0}),
        ("throughput", {**THROUGHPUT, "elapsed_time": float("inf")}),
        ("throughput", {**THROUGHPUT, "tokens_per_second": "50"}),
        ("throughput", []),
    ],
)
def test_what_measured_nothing_is_an_error(program: str, data: object, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"result\.json"):
        read_offline_bench(written(tmp_path, data), program)
