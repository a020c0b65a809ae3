"""Latency: what a load proves of the server, once it is known to mean anything.

Judging never trusts a percentile over successes. A load in which anything failed is INVALID, with
the reason; only a valid one is held against a budget, request by request, with an exact test.
"""

from __future__ import annotations

from typing import Any

from pytest_qwenvl.measure.bench_result import LoadResult
from pytest_qwenvl.measure.judgement import Judgement
from pytest_qwenvl.measure.load_summary import (
    INTERVAL_CONFIDENCE,
    goodput,
    intervals_ms,
    summary_ms,
    throughput,
)
from pytest_qwenvl.measure.statistics import (
    judge_percentile,
    percentile_interval,
    percentile_of,
    sample_to_decide,
    smallest_sample,
)
from pytest_qwenvl.measure.validity import (
    check_validity,
    overhead_reasons,
    unanswered,
    undeclared,
)
from pytest_qwenvl.profile_fields import LatencyMetric
from pytest_qwenvl.profile_latency import LatencyBudget, LatencyWorkload
from pytest_qwenvl.report.results import Outcome

METRIC_NAMES: dict[LatencyMetric, str] = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "itl": "ITL",
    "e2el": "end-to-end latency",
}
"""Each metric as the field writes it."""


def judge_load(load: LoadResult, workload: LatencyWorkload) -> Judgement:
    """Whether the server did what the load asked of it, however long it took.

    FAIL when a request was not answered in full; INVALID when the client did not make the declared
    load, so that nothing follows for the server.
    """
    evidence: dict[str, Any] = {
        "workload": workload.name,
        "completed": load.completed,
        "failed": load.failed,
        "asked": workload.num_prompts,
        "rate_asked": workload.request_rate,
        "rate_sent": load.sending_rate,
    }
    name = f"load {workload.name!r}"
    if wrong := unanswered(load, workload):
        return Judgement(Outcome.FAIL, f"{name}: {'; '.join(wrong)}", evidence)
    if invalid := undeclared(load, workload):
        evidence["invalid"] = invalid
        return Judgement(Outcome.INVALID, f"{name}: {'; '.join(invalid)}", evidence)
    return Judgement(
        Outcome.PASS,
        f"{name}: all {load.completed} requests answered in full at {load.sending_rate or 0:.3g}/s",
        evidence,
    )


def judge_budgets(load: LoadResult, workload: LatencyWorkload) -> Judgement:
    """Hold a load against every budget that is declared for its hardware and device count.

    The budget that somebody vouches for decides; the others are reported beside it. Without one
    the outcome is SKIPPED, or INVALID when the load could not have been judged.
    """
    budgets = [
        its for its in workload.budgets if (its.hardware, its.npus) == (load.hardware, load.npus)
    ]
    judged = [(its, judge_latency(load, workload, its)) for its in budgets]
    around = load.surroundings
    evidence: dict[str, Any] = {
        "workload": workload.name,
        "hardware": load.hardware,
        "npus": load.npus,
        "percentiles_ms": summary_ms(load),
        "intervals_ms": intervals_ms(load),
        "throughput": throughput(load),
        "goodput": goodput(load, budgets),
        "engine": dict(around.engine) if around and around.engine else None,
        "budgets": [{"judgement": it.sentence, **it.evidence} for _, it in judged],
    }
    decisive = [it for budget, it in judged if budget.vouched] + [
        it for _, it in judged if it.outcome is Outcome.INVALID
    ]
    if decisive:
        return Judgement(decisive[0].outcome, decisive[0].sentence, evidence)
    return Judgement(
        Outcome.SKIPPED,
        f"nobody vouches for a budget of {workload.name!r} on {load.hardware} with "
        f"{load.npus} devices; what was measured is in the evidence",
        evidence,
    )


def judge_latency(load: LoadResult, workload: LatencyWorkload, budget: LatencyBudget) -> Judgement:
    """Hold a load against one budget by an exact one-sided binomial test on its requests.

    INVALID when the load is; FAIL when "over budget" is proven at the budget's confidence, PASS
    when "within" is; otherwise INCONCLUSIVE, with the number of requests it takes. A budget that
    nobody vouches for is SKIPPED: its numbers are reported, never gated.
    """
    name = METRIC_NAMES[budget.metric]
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
    reasons = check_validity(load, workload, budget.metric)
    reasons += overhead_reasons(load, workload, budget)
    if budget.metric == "tpot" and workload.output_tokens < 2:
        reasons.append("TPOT takes at least two output tokens; the workload asks for one")
    if reasons:
        evidence["invalid"] = reasons
        return Judgement(Outcome.INVALID, f"{limit}: not judged: {'; '.join(reasons)}", evidence)
    if budget.metric == "itl":
        return _reported_only(load, budget, limit, evidence)
    values = load.values_ms(budget.metric)
    spread = percentile_interval(values, budget.percentile, INTERVAL_CONFIDENCE)
    evidence |= {
        "observed_ms": spread.estimate,
        "interval_ms": [spread.low, spread.high],
        "median_ms": percentile_of(values, 50),
        "largest_ms": max(values),
    }
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


def _reported_only(
    load: LoadResult, budget: LatencyBudget, limit: str, evidence: dict[str, Any]
) -> Judgement:
    # Gaps of one request depend on each other, so no exact test of their percentile holds.
    observed = load.reported.get(f"p{budget.percentile:g}_itl_ms")
    evidence["observed_ms"] = observed
    seen = "not reported" if observed is None else f"{observed:.4g} ms over all gaps"
    return Judgement(
        Outcome.INCONCLUSIVE if budget.vouched else Outcome.SKIPPED,
        f"{limit}: {seen}; reported only, because gaps within a request are not independent: "
        "gate TPOT, TTFT or end-to-end latency",
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
