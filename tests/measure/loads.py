"""Loads for tests of judging them, recorded and made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_qwenvl.measure.bench_result import LoadResult, RequestRow
from pytest_qwenvl.measure.surroundings import Surroundings
from pytest_qwenvl.profile_fields import LatencyMetric
from pytest_qwenvl.profile_latency import LatencyBudget, LatencyWorkload

SAMPLES = Path(__file__).parent / "samples"
TEXT = SAMPLES / "bench-text.json"


def workload(**kwargs: Any) -> LatencyWorkload:
    """The workload of the recorded loads."""
    fields: dict[str, Any] = {
        "name": "text", "deployment": "serve-1npu", "num_prompts": 12, "request_rate": 8.0,
        "output_tokens": 8, "source": "recorded for this test", **kwargs,
    }  # fmt: skip
    return LatencyWorkload(**fields)


def budget(
    metric: LatencyMetric = "ttft", percentile: float = 50, budget_ms: float = 500, **kwargs: Any
) -> LatencyBudget:
    """A budget for one CPU device."""
    return LatencyBudget(
        hardware="cpu", npus=1, metric=metric, percentile=percentile, budget_ms=budget_ms,
        source="invented for this test", **kwargs,
    )  # fmt: skip


def looked_after(load: LoadResult, running: float | None = 0.5, **engine: float) -> LoadResult:
    """The load with an engine beside it that counted it, and only it, with cold caches."""
    counted = {
        "requests": len(load.rows),
        "prompt_tokens": sum(row.input_len for row in load.rows),
        "prefix_cache_queries": sum(row.input_len for row in load.rows),
        "prefix_cache_hits": 0,
        "mm_cache_queries": len(load.rows),
        "mm_cache_hits": 0,
        **engine,
    }
    return replace(
        load,
        workload="text",
        hardware="cpu",
        npus=1,
        seed=0,
        surroundings=Surroundings(
            {name: float(value) for name, value in counted.items()}, "", running
        ),
    )


def made(ttfts: Sequence[float], rate: float = 10.0, gap: float = 0.01) -> LoadResult:
    """A valid load with these times to the first token (seconds) and two tokens an answer."""
    n = len(ttfts)
    rows = tuple(
        RequestRow(
            start=1000 + index / rate,
            ttft=round(ttft, 6),
            e2el=round(ttft + gap, 6),
            longest_gap=gap,
            input_len=20,
            output_len=2,
            error="",
            itls=(gap,),
        )
        for index, ttft in enumerate(ttfts)
    )
    end = max(row.start + row.e2el for row in rows) - 1000
    return looked_after(
        LoadResult(
            path=Path("bench.json"), num_prompts=n, completed=n, failed=0,
            duration=max(n / rate, end), request_throughput=rate, request_rate=rate,
            max_concurrency=None, rows=rows, client_times=True, queue_times=(0.0,) * n,
            reported={},
        )
    )  # fmt: skip
