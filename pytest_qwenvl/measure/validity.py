"""Whether a load says anything: was it the declared one, and is what it measured latency.

A reason is a sentence for the reader. None of these is about how fast the server is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from pytest_qwenvl.measure.bench_result import LoadResult
from pytest_qwenvl.measure.load_summary import values_of_successes
from pytest_qwenvl.measure.statistics import percentile_of
from pytest_qwenvl.measure.trend import drift_of
from pytest_qwenvl.profile_fields import LatencyMetric
from pytest_qwenvl.profile_latency import LatencyBudget, LatencyWorkload

# Slack of comparisons between two readings of one clock (seconds).
_CLOCK_SLACK = 0.1
_DRIFTING: tuple[LatencyMetric, ...] = ("ttft", "tpot", "e2el")


def check_validity(
    load: LoadResult, workload: LatencyWorkload, metric: LatencyMetric | None = None
) -> list[str]:
    """Reasons for which the load says nothing about latency; empty when it is valid.

    Args:
        metric: what is judged, which must not drift; None for all of them.
    """
    metrics = (metric,) if metric in _DRIFTING else _DRIFTING
    return [
        *unanswered(load, workload),
        *undeclared(load, workload),
        *_surrounding_reasons(load, workload),
        *_drift_reasons(load, workload, metrics),
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


def undeclared(load: LoadResult, workload: LatencyWorkload) -> list[str]:
    """What the client did not do: another number, another rate, numbers that contradict it."""
    return [
        *_count_reasons(load, workload),
        *_rate_reasons(load, workload),
        *_clock_reasons(load, workload),
        *_inconsistencies(load),
    ]


def overhead_reasons(
    load: LoadResult, workload: LatencyWorkload, budget: LatencyBudget
) -> list[str]:
    """Why the client's own delay may decide whether the budget is kept; empty when it cannot.

    A client that notices late that it is time to send also notices late that a token came. Where
    it does not say how late it was, the difference to the engine's own mean TTFT bounds it.
    """
    allowed = workload.client_overhead * budget.budget_ms
    if budget.metric == "tpot":
        # A delay at the end of an answer is divided over its tokens.
        allowed *= max(1, workload.output_tokens - 1)
    if load.queue_times:
        late = percentile_of(load.queue_times, budget.percentile) * 1000
        what = f"the client sent p{budget.percentile:g} of its requests {late:.3g} ms late"
    else:
        engine = (load.surroundings and load.surroundings.engine) or {}
        tokens = engine.get("first_tokens", 0.0)
        seconds = engine.get("ttft_seconds")
        own = [row.ttft for row in load.rows if row.succeeded]
        if not (tokens and own and seconds is not None):
            return [
                "the client does not say how late it sent, and the engine not when it answered; "
                "use a newer vLLM as the client"
            ]
        late = (sum(own) / len(own) - seconds / tokens) * 1000
        what = f"the client saw first tokens {late:.3g} ms after the engine on average"
    if late <= allowed:
        return []
    return [
        f"{what}; {allowed:.3g} ms may be its own ({workload.client_overhead:.0%} of the budget): "
        "run it on a host that is less busy"
    ]


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


def _clock_reasons(load: LoadResult, workload: LatencyWorkload) -> list[str]:
    reasons = []
    # The client spreads its requests over this time by the wall clock and times them by another.
    spread = len(load.rows) / workload.request_rate
    if load.duration < spread * workload.minimum_rate_achieved:
        reasons.append(
            f"the load took {load.duration:.3g} s, but its requests are spread over "
            f"{spread:.3g} s: the client's clock jumped forward, or the load was another one"
        )
    starts = [row.start for row in load.rows]
    back = max((a - b for a, b in itertools.pairwise(starts)), default=0.0)
    if back > _CLOCK_SLACK:
        reasons.append(
            f"a request was sent {back:.3g} s before the one that precedes it: the client's clock "
            "jumped back"
        )
    end = max((row.start + row.e2el for row in load.rows), default=0.0)
    if starts and end - min(starts) > load.duration + _CLOCK_SLACK:
        reasons.append(
            f"the last answer ended {end - min(starts):.3g} s after the first request, but the "
            f"load took {load.duration:.3g} s: the client's clock jumped"
        )
    return reasons


_REPORTED = re.compile(r"(?P<what>mean|median|p(?P<percentile>[\d.]+))_(?P<metric>\w+)_ms")


def _inconsistencies(load: LoadResult) -> list[str]:
    """Where the client's own numbers cannot come from its rows."""
    values = values_of_successes(load)
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


def _surrounding_reasons(load: LoadResult, workload: LatencyWorkload) -> list[str]:
    around = load.surroundings
    if around is None or around.engine is None:
        why = around.unreadable if around else "nobody looked"
        return [f"the engine's counters are unknown ({why}), so its caches may have been warm"]
    reasons = []
    falling = sorted(name for name, value in around.engine.items() if value < 0)
    if falling:
        reasons.append(
            f"the engine's counters went back ({', '.join(falling)}): it was started again "
            "during the load"
        )
    asked = around.engine.get("requests")
    if asked is not None and asked != workload.num_prompts:
        reasons.append(
            f"the engine finished {asked:.0f} requests during a load of {workload.num_prompts}: "
            "somebody else uses the server, or it counts wrong"
        )
    caches = {"prefix_cache": "prompt tokens"}
    if workload.images_per_request:
        caches["mm_cache"] = "pictures"
    for cache, what in caches.items():
        share = around.cached(cache)
        if share is None:
            reasons.append(f"the engine does not count what its {cache} had of {what}")
        elif share > workload.maximum_cached:
            reasons.append(
                f"{share:.1%} of {what} came from the engine's {cache}, where "
                f"{workload.maximum_cached:.1%} may: it has seen this load before; start the "
                "server again, or take another --load-seed"
            )
    return reasons


def _drift_reasons(
    load: LoadResult, workload: LatencyWorkload, metrics: Sequence[LatencyMetric]
) -> list[str]:
    values = values_of_successes(load)
    reasons = []
    for metric in metrics:
        drift = drift_of(values[metric])
        # Where several are looked at, each may be wrong the less often.
        level = workload.trend_level / len(metrics)
        if drift is None or drift.p_value > level or drift.size <= workload.maximum_drift:
            continue
        reasons.append(
            f"not stationary: median {metric.upper()} {drift.first:.4g} ms in the first half, "
            f"{drift.second:.4g} ms in the second (p = {drift.p_value:.1g}): "
            f"{_cause(load, workload)}"
        )
    return reasons


def _cause(load: LoadResult, workload: LatencyWorkload) -> str:
    """What a drift may come from, by what the host did meanwhile."""
    server = (
        "a server that cannot keep up with the rate queues more and more; one that was not warm "
        "gets faster"
    )
    around = load.surroundings
    if around is None or around.host_others is None:
        return server
    others, stolen = around.host_others, around.host_stolen or 0.0
    had = f"{others:.0%} of this host's processor time"
    if stolen >= 0.005:
        had += f", and {stolen:.0%} of it went to other guests of the machine"
    if others + stolen >= workload.host_others:
        return (
            f"the host was busy: processes that are neither engine nor client had {had}; this says "
            "nothing of the server, so measure again while nothing else runs here"
        )
    return f"{server}; the host was not busy: other processes had {had}"
