"""Latency: the load that ``vllm bench serve`` makes, whether it is valid, and what it proves.

Judging never trusts a percentile over successes. A load in which anything failed is INVALID, with
the reason; only a valid one is held against a budget, request by request, with an exact test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_qwenvl.measure.bench_command import (
    REPORTED_PERCENTILES,
    RESULT_FILENAME,
    bench_arguments,
)
from pytest_qwenvl.measure.bench_result import LoadResult, RequestRow, read_bench
from pytest_qwenvl.measure.judgement import Judgement
from pytest_qwenvl.measure.statistics import (
    judge_percentile,
    percentile_interval,
    percentile_of,
    sample_to_decide,
    smallest_sample,
)
from pytest_qwenvl.profile import LatencyBudget, LatencyMetric, LatencyWorkload
from pytest_qwenvl.report.results import Outcome

__all__ = [
    "RESULT_FILENAME",
    "LoadResult",
    "RequestRow",
    "bench_arguments",
    "check_validity",
    "judge_latency",
    "read_bench",
]

_METRIC_NAMES: dict[LatencyMetric, str] = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "itl": "ITL",
    "e2el": "end-to-end latency",
}


def check_validity(load: LoadResult, workload: LatencyWorkload) -> list[str]:
    """Reasons for which the load says nothing about latency; empty when it is valid."""
    return [
        *unanswered(load, workload),
        *_count_reasons(load, workload),
        *_rate_reasons(load, workload),
        *_inconsistencies(load),
    ]


def unanswered(load: LoadResult, workload: LatencyWorkload) -> list[str]:
    """What the server did not do: requests that failed, broke off, or got another length."""
    reasons = []
    if load.completed != workload.num_prompts:
        reasons.append(f"{load.completed} of {workload.num_prompts} requests completed")
    if load.failed:
        reasons.append(f"{load.failed} requests failed")
    errors = [(index, row.error) for index, row in enumerate(load.rows) if row.error]
    if errors:
        index, text = errors[0]
        reasons.append(
            f"{len(errors)} requests carry an error; request {index}: {text.splitlines()[-1][:200]}"
        )
    wrong = [row.output_len for row in load.rows if row.output_len != workload.output_tokens]
    if wrong:
        reasons.append(
            f"{len(wrong)} answers are not the {workload.output_tokens} tokens asked for "
            f"({min(wrong)} to {max(wrong)}): a stream broke off, or ignore_eos is not obeyed"
        )
    return reasons


def _count_reasons(load: LoadResult, workload: LatencyWorkload) -> list[str]:
    reasons = []
    if load.num_prompts != workload.num_prompts or len(load.rows) != workload.num_prompts:
        reasons.append(
            f"{workload.num_prompts} requests were to be sent; the result is of "
            f"{load.num_prompts} with {len(load.rows)} rows"
        )
    if load.failed is None:
        reasons.append("the client does not count failed requests; use a newer vLLM")
    return reasons


def _rate_reasons(load: LoadResult, workload: LatencyWorkload) -> list[str]:
    reasons = []
    if load.request_rate != workload.request_rate:
        reasons.append(
            f"the load was made at {load.request_rate:g} requests/s instead of "
            f"{workload.request_rate:g}"
        )
    if load.max_concurrency is not None:
        reasons.append(
            f"the client held requests back (max_concurrency {load.max_concurrency:g}), which the "
            "measured latency does not contain"
        )
    needed = workload.request_rate * workload.minimum_rate_achieved
    rate = load.sending_rate
    if rate is None and len(load.rows) > 1:
        reasons.append("all requests have the same sending time, so the rate is unknown")
    elif rate is not None and rate < needed:
        reasons.append(
            f"requests were sent at {rate:.3g}/s; it takes {needed:.3g}/s "
            f"({workload.minimum_rate_achieved:.0%} of {workload.request_rate:g}/s)"
        )
    return reasons


_REPORTED = re.compile(r"(?P<what>mean|median|p(?P<percentile>[\d.]+))_(?P<metric>\w+)_ms")


def _inconsistencies(load: LoadResult) -> list[str]:
    """Where the client's own numbers cannot come from its rows."""
    values = _values_of_successes(load)
    reasons = []
    for key, reported in load.reported.items():
        match = _REPORTED.fullmatch(key)
        if match is None or not values.get(match["metric"]):
            continue
        sample = values[match["metric"]]
        if match["what"] == "mean":
            own = sum(sample) / len(sample)
        else:
            own = percentile_of(sample, float(match["percentile"] or 50))
        slack = 1e-3 + 1e-6 * own
        # An older client's last chunk, the usage, counts towards latency but has no gap in itls.
        may_exceed = not load.client_times and match["metric"] in {"tpot", "e2el"}
        if reported < own - slack or (reported > own + slack and not may_exceed):
            reasons.append(
                f"{key} is reported as {reported:.3f}, but the rows give {own:.3f}: they are not "
                "the same measurement"
            )
    return reasons


def judge_latency(load: LoadResult, workload: LatencyWorkload, budget: LatencyBudget) -> Judgement:
    """Hold a load against one budget by an exact one-sided binomial test on its requests.

    INVALID when the load is; FAIL when "over budget" is proven at the budget's confidence, PASS
    when "within" is; otherwise INCONCLUSIVE, with the number of requests it takes. A budget that
    nobody vouches for is SKIPPED: its numbers are reported, never gated.
    """
    name = _METRIC_NAMES[budget.metric]
    limit = f"p{budget.percentile:g} {name} within {budget.budget_ms:g} ms"
    evidence: dict[str, Any] = {
        "workload": workload.name,
        "metric": budget.metric,
        "percentile": budget.percentile,
        "budget_ms": budget.budget_ms,
        "confidence": budget.confidence,
        "vouched": budget.vouched,
        "requests": len(load.rows),
        "rate_asked": workload.request_rate,
        "rate_sent": load.sending_rate,
        "request_throughput": load.request_throughput,
        "result_file": str(load.path),
    }
    if load.queue_times:
        evidence["client_queue_p99_ms"] = percentile_of(load.queue_times, 99) * 1000
    reasons = check_validity(load, workload)
    if budget.metric == "tpot" and workload.output_tokens < 2:
        reasons.append("TPOT takes at least two output tokens; the workload asks for one")
    if reasons:
        evidence["invalid"] = reasons
        return Judgement(Outcome.INVALID, f"{limit}: not judged: {'; '.join(reasons)}", evidence)
    values = load.values_ms(budget.metric)
    spread = percentile_interval(values, budget.percentile, 0.95) if values else None
    if spread is not None:
        evidence |= {
            "observed_ms": spread.estimate,
            "interval_ms": [spread.low, spread.high],
            "median_ms": percentile_of(values, 50),
            "largest_ms": max(values),
        }
    if budget.metric == "itl" or spread is None:
        # Gaps of one request depend on each other, so no exact test of their percentile holds.
        seen = "no gaps were seen" if spread is None else f"{spread.estimate:.4g} ms over all gaps"
        if spread is not None:
            evidence.pop("interval_ms")
        outcome = Outcome.INCONCLUSIVE if budget.vouched else Outcome.SKIPPED
        return Judgement(
            outcome,
            f"{limit}: {seen}; reported only, because gaps within a request are not independent: "
            "gate TPOT, TTFT or end-to-end latency",
            evidence,
        )
    assert spread is not None
    over = sum(value > budget.budget_ms for value in values)
    test = judge_percentile(over, len(values), budget.percentile, budget.confidence)
    evidence |= {
        "over_budget": over,
        "share_over": test.share_over,
        "share_over_bounds": [test.share_over_low, test.share_over_high],
        "share_allowed": test.allowed,
        "proven": test.evidence,
    }
    seen = (
        f"{over} of {len(values)} requests over, p{budget.percentile:g} seen "
        f"{spread.estimate:.4g} ms"
    )
    if not budget.vouched:
        return Judgement(
            Outcome.SKIPPED, f"{limit}: {seen}; reported only, nobody vouches for it", evidence
        )
    stated = f"at {budget.confidence:.4g} confidence"
    if test.evidence == "within":
        return Judgement(Outcome.PASS, f"{limit}: proven {stated}: {seen}", evidence)
    if test.evidence == "over":
        return Judgement(Outcome.FAIL, f"{limit}: proven broken {stated}: {seen}", evidence)
    return Judgement(
        Outcome.INCONCLUSIVE,
        f"{limit}: cannot tell {stated}: {seen}; {_what_it_takes(over, values, budget, evidence)}",
        evidence,
    )


def _what_it_takes(
    over: int, values: list[float], budget: LatencyBudget, evidence: dict[str, Any]
) -> str:
    least = smallest_sample(budget.percentile, budget.confidence, over)
    needed = sample_to_decide(over, len(values), budget.percentile, budget.confidence)
    evidence |= {"requests_with_no_more_over": least, "requests_at_this_share": needed}
    if needed is None:
        return (
            f"with this share over budget no number of requests proves it within; {least} requests "
            f"would, with no more than {over} over"
        )
    return f"it takes {least} requests with no more than {over} over, {needed} at this share"


def summary_ms(load: LoadResult) -> Mapping[str, Mapping[str, float]]:
    """Percentiles of every metric in milliseconds over the successes; reported, never judged."""
    return {
        metric: {
            f"p{percentile:g}": percentile_of(sample, percentile)
            for percentile in REPORTED_PERCENTILES
        }
        for metric, sample in _values_of_successes(load).items()
        if sample
    }


def _values_of_successes(load: LoadResult) -> dict[str, list[float]]:
    # A failed request has a time of 0, which would make a failing server look quick.
    rows = [row for row in load.rows if row.succeeded]
    return {
        "ttft": [row.ttft * 1000 for row in rows],
        "tpot": [row.tpot * 1000 for row in rows if row.tpot is not None],
        "itl": [gap * 1000 for row in rows for gap in row.itls],
        "e2el": [row.e2el * 1000 for row in rows],
    }
