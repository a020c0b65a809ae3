"""A load in numbers that are reported beside a judgement, and never judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_qwenvl.measure.bench_command import REPORTED_PERCENTILES
from pytest_qwenvl.measure.bench_result import LoadResult
from pytest_qwenvl.measure.statistics import interval, percentile_interval, percentile_of
from pytest_qwenvl.profile_latency import LatencyBudget

INTERVAL_CONFIDENCE = 0.95
"""Of the two-sided intervals that are shown."""


def values_of_successes(load: LoadResult) -> dict[str, list[float]]:
    """Each metric in milliseconds over the requests that succeeded, in order of sending.

    A failed request has a time of 0, which would make a failing server look quick.
    """
    rows = [row for row in load.rows if row.succeeded]
    return {
        "ttft": [row.ttft * 1000 for row in rows],
        "tpot": [row.tpot * 1000 for row in rows if row.tpot is not None],
        "itl": [gap * 1000 for row in rows for gap in row.itls],
        "e2el": [row.e2el * 1000 for row in rows],
    }


def summary_ms(load: LoadResult) -> dict[str, dict[str, float]]:
    """Percentiles of every metric in milliseconds over the successes."""
    found = {
        metric: {
            f"p{percentile:g}": percentile_of(sample, percentile)
            for percentile in REPORTED_PERCENTILES
        }
        for metric, sample in values_of_successes(load).items()
        if sample
    }
    if found and "itl" not in found:
        # Read back from a report, which keeps no gaps but what the client said of them.
        said = {f"p{p:g}": load.reported.get(f"p{p:g}_itl_ms") for p in REPORTED_PERCENTILES}
        known = {name: value for name, value in said.items() if value is not None}
        if known:
            found["itl"] = known
    return found


def intervals_ms(load: LoadResult) -> dict[str, dict[str, list[float | None]]]:
    """Two-sided 95 % intervals of the same percentiles; null where too few requests bound it.

    Gaps within a request depend on each other, so there is none for ITL.
    """
    found: dict[str, dict[str, list[float | None]]] = {}
    for metric, sample in values_of_successes(load).items():
        if not sample or metric == "itl":
            continue
        found[metric] = {}
        for percentile in REPORTED_PERCENTILES:
            its = percentile_interval(sample, percentile, INTERVAL_CONFIDENCE)
            found[metric][f"p{percentile:g}"] = [its.low, its.high]
    return found


def throughput(load: LoadResult) -> dict[str, float]:
    """What was done each second: requests, output tokens, tokens in all (as the client says)."""
    names = ("request_throughput", "output_throughput", "total_token_throughput")
    return {name: load.reported[name] for name in names if name in load.reported}


def goodput(load: LoadResult, budgets: Sequence[LatencyBudget]) -> dict[str, Any] | None:
    """Requests per second that kept every budget at once; None without a budget to keep.

    A request that failed kept none.
    """
    limits = {
        metric: [its.budget_ms for its in budgets if its.metric == metric]
        for metric in ("ttft", "tpot", "e2el")
    }
    if not any(limits.values()) or not load.rows or not load.duration:
        return None
    good = 0
    for row in load.rows:
        if not row.succeeded:
            continue
        seen = {"ttft": row.ttft, "tpot": row.tpot or 0.0, "e2el": row.e2el}
        good += all(seen[metric] * 1000 <= min(its) for metric, its in limits.items() if its)
    low, high = interval(good, len(load.rows), INTERVAL_CONFIDENCE)
    return {
        "requests": good,
        "requests_per_second": good / load.duration,
        "share": good / len(load.rows),
        "share_interval": [low, high],
        "within_ms": {metric: min(its) for metric, its in limits.items() if its},
    }
