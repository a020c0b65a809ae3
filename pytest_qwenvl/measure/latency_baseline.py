"""A load against an earlier one of the same workload: comparable, and no slower (pure)."""

from __future__ import annotations

from typing import Any

from pytest_qwenvl.measure.bench_result import LoadResult
from pytest_qwenvl.measure.judgement import Judgement
from pytest_qwenvl.measure.latency import METRIC_NAMES
from pytest_qwenvl.measure.load_summary import values_of_successes
from pytest_qwenvl.measure.ratio import Pauses, Ratio, pauses_of, ratio_of
from pytest_qwenvl.measure.validity import check_validity
from pytest_qwenvl.profile_fields import LatencyMetric
from pytest_qwenvl.profile_latency import LatencyWorkload
from pytest_qwenvl.report.results import Outcome

# Where the profile states no margin: of a run that is called slower.
_CONFIDENCE = 0.99
# Where no budget of the workload says which percentile of which metric matters.
_DEFAULT: tuple[LatencyMetric, float] = ("ttft", 95.0)
_WAYS = 3


def incomparable_reasons(new: LoadResult, old: LoadResult) -> list[str]:
    """Why two loads cannot be compared; empty when they can.

    Compared loads have the same workload at the same rate, with as many requests of the same
    lengths, on the same hardware with as many devices. What may differ is what one wants to
    compare: the engine, its version and arguments; and the seed.
    """
    reasons = []
    for what, its, other in (
        ("workload", new.workload, old.workload),
        ("hardware", new.hardware, old.hardware),
        ("devices", new.npus, old.npus),
        ("requests", new.num_prompts, old.num_prompts),
        ("requests/s", new.request_rate, old.request_rate),
        ("output tokens", _outputs(new), _outputs(old)),
    ):
        if its != other:
            reasons.append(f"{what}: {its} here, {other} in the baseline")
    here, there = (sum(row.input_len for row in it.rows) for it in (new, old))
    if abs(here - there) > 0.05 * max(here, there):
        reasons.append(f"prompt tokens: {here} here, {there} in the baseline")
    return reasons


def _outputs(load: LoadResult) -> list[int]:
    return sorted({row.output_len for row in load.rows})


def judge_against_baseline(
    new: LoadResult, old: LoadResult, workload: LatencyWorkload
) -> Judgement:
    """Whether a load was slower than an earlier one, in three ways at once.

    The ratio of medians, the ratio of the gating percentile, and how often requests were held up;
    the error of the stated confidence is divided among them. INVALID when the two cannot be
    compared or either is invalid; INCONCLUSIVE when one host was busier than the other. FAIL when
    any of the three is proven to exceed the profile's margin; PASS when both ratios are proven
    within it; else INCONCLUSIVE. Without a margin nothing is proven within it, and any slowness
    that is proven is a FAIL.
    """
    metric, percentile = _gate_of(workload, new)
    margin = workload.margin
    confidence = margin.confidence if margin else _CONFIDENCE
    allowed = 1 + (margin.value if margin else 0.0)
    evidence: dict[str, Any] = {
        "workload": workload.name,
        "metric": metric,
        "percentile": percentile,
        "confidence": confidence,
        "margin": margin.value if margin else None,
        "baseline_file": str(old.path),
    }
    name = f"load {workload.name!r} against the baseline"
    reasons = incomparable_reasons(new, old)
    reasons += [f"this run: {it}" for it in check_validity(new, workload, metric)]
    reasons += [f"the baseline: {it}" for it in check_validity(old, workload, metric)]
    if reasons:
        evidence["invalid"] = reasons
        return Judgement(Outcome.INVALID, f"{name}: not compared: {'; '.join(reasons)}", evidence)
    here, there = values_of_successes(new)[metric], values_of_successes(old)[metric]
    if not here or not there or min(*here, *there) <= 0:
        return Judgement(
            Outcome.INVALID,
            f"{name}: not compared: {metric.upper()} has no times above 0",
            evidence,
        )
    # Each way of being slower gets its part of the error, so that all three together keep to it;
    # "no slower" is claimed only when every one shows it, which needs no such part.
    each = 1 - (1 - confidence) / _WAYS
    median = ratio_of(here, there, 50, slower=each, within=confidence)
    gate = ratio_of(here, there, percentile, slower=each, within=confidence)
    pauses = pauses_of(here, there, allowed=allowed)
    evidence |= {
        "median_ratio": _ratio_evidence(median),
        "percentile_ratio": _ratio_evidence(gate),
        "held_up": {
            "limit_ms": pauses.limit,
            "new": pauses.new,
            "old": pauses.old,
            "p_value": pauses.p_value,
        },
        "host_running": [_running(new), _running(old)],
    }
    seen = (
        f"{name}: {METRIC_NAMES[metric]} median {_shown(median)}, p{percentile:g} {_shown(gate)}, "
        f"held up {pauses.new} times after {pauses.old}"
    )
    unlike, busy = _hosts(new, old, workload)
    slower = [] if unlike else _slower_of_pauses(pauses, 1 - each)
    if not busy:
        # A busy host moves every percentile, and holds up either run's requests alike.
        slower += _slower_of(median, "the median", allowed)
        slower += _slower_of(gate, f"p{percentile:g}", allowed)
    evidence["slower"] = slower
    return _concluded(seen, slower, busy, (median, gate), workload, evidence)


def _concluded(
    seen: str,
    slower: list[str],
    busy: str,
    ratios: tuple[Ratio, ...],
    workload: LatencyWorkload,
    evidence: dict[str, Any],
) -> Judgement:
    margin = workload.margin
    stated = f"at {evidence['confidence']:.4g} confidence"
    if slower:
        by = f" by more than {margin.value:.0%}" if margin else ""
        return Judgement(
            Outcome.FAIL, f"{seen}: slower{by} {stated} in {', '.join(slower)}", evidence
        )
    within = margin is not None and all(
        it.high is not None and it.high <= 1 + margin.value for it in ratios
    )
    here, there = evidence["host_running"]
    # On a busier host than the baseline's, no slower is no slower all the more.
    if busy and not (within and here >= there):
        return Judgement(Outcome.INCONCLUSIVE, f"{seen}; cannot tell: {busy}", evidence)
    if margin is None:
        return Judgement(
            Outcome.INCONCLUSIVE,
            f"{seen}; not proven slower; the profile states no margin, so no run can be proven "
            "no slower",
            evidence,
        )
    if within:
        return Judgement(
            Outcome.PASS, f"{seen}: no slower than {margin.value:.0%} {stated}", evidence
        )
    return Judgement(
        Outcome.INCONCLUSIVE,
        f"{seen}; neither slower nor no slower than {margin.value:.0%} {stated}: it takes more "
        "requests, or runs that vary less",
        evidence,
    )


def _gate_of(workload: LatencyWorkload, load: LoadResult) -> tuple[LatencyMetric, float]:
    """The metric and percentile that gate, or would if somebody vouched for them."""
    here = [
        its
        for its in workload.budgets
        if (its.hardware, its.npus) == (load.hardware, load.npus) and its.metric != "itl"
    ]
    for its in sorted(here, key=lambda its: not its.vouched):
        return its.metric, its.percentile
    return _DEFAULT


def _hosts(new: LoadResult, old: LoadResult, workload: LatencyWorkload) -> tuple[bool, str]:
    """Whether the hosts were unlike, and why they decide more than the servers.

    The reason is empty when they do not, or nobody knows.
    """
    here, there = _running(new), _running(old)
    if here is None or there is None or workload.margin is None:
        return False, ""
    alike = abs(here - there) <= workload.margin.host_running * max(here, there, 1.0)
    if alike and max(here, there) <= workload.margin.host_busy:
        return False, ""
    return not alike, (
        f"the host had {here:.2g} tasks to run for each CPU, in the baseline {there:.2g}: run both "
        f"while there are fewer than {workload.margin.host_busy:g}, and as many each time"
    )


def _running(load: LoadResult) -> float | None:
    return load.surroundings.host_running if load.surroundings else None


def _slower_of(ratio: Ratio, name: str, allowed: float) -> list[str]:
    return [name] if ratio.low is not None and ratio.low > allowed else []


def _slower_of_pauses(pauses: Pauses, level: float) -> list[str]:
    return ["how often requests were held up"] if pauses.p_value <= level else []


def _ratio_evidence(ratio: Ratio) -> dict[str, Any]:
    return {
        "percentile": ratio.percentile,
        "new_ms": ratio.new,
        "old_ms": ratio.old,
        "ratio": ratio.estimate,
        "bounds": [ratio.low, ratio.high],
    }


def _shown(ratio: Ratio) -> str:
    low = "?" if ratio.low is None else f"{ratio.low:.3g}"
    high = "?" if ratio.high is None else f"{ratio.high:.3g}"
    return (
        f"{ratio.new:.4g} ms after {ratio.old:.4g} ms (ratio {ratio.estimate:.3g}, {low} to {high})"
    )
