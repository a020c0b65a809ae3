"""Judging a soak: each requirement from what was watched, with the profile's own numbers (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pytest_qwenvl.measure.judgement import Judgement
from pytest_qwenvl.measure.soak_record import Probe, Soak, Watched
from pytest_qwenvl.measure.soak_trend import Growth, Tolerance, growth_of
from pytest_qwenvl.profile_soak import SoakLoad, Tolerated
from pytest_qwenvl.report.results import Outcome

MEMORY, DEVICE_MEMORY, LATENCY = "memory", "device memory", "latency"
COUNTED = ("descriptors", "threads", "sockets")
RUNNING, WAITING, CACHE = "requests running", "requests waiting", "KV cache used"
WHOLE_MEMORY, OTHERS = "proportional memory", "cores used by others"

_MOST_NAMED = 3
_MOSTLY = 0.5
"""Share of the looks at which requests must be too many to be called stuck."""


def judge_memory(soak: Soak, load: SoakLoad) -> Judgement:
    """Whether the host memory of any engine process keeps growing."""
    return _judge_growth(soak, load, soak.series(MEMORY), load.memory, MEMORY)


def judge_device_memory(soak: Soak, load: SoakLoad) -> Judgement:
    """Whether the memory used of any leased device keeps growing."""
    return _judge_growth(soak, load, soak.series(DEVICE_MEMORY), load.device_memory, DEVICE_MEMORY)


def judge_descriptors(soak: Soak, load: SoakLoad) -> Judgement:
    """Whether descriptors, threads or sockets of any engine process keep growing."""
    series = [one for quantity in COUNTED for one in soak.series(quantity)]
    return _judge_growth(soak, load, series, load.descriptors, " and ".join(COUNTED))


def judge_requests(soak: Soak, load: SoakLoad) -> Judgement:
    """Whether every request left the engine when nobody waited for it any more."""
    evidence = {"settled": soak.settled, "left": soak.left, "foreign": soak.foreign}
    if soak.left is None:
        return Judgement(
            Outcome.INCONCLUSIVE,
            f"requests in the engine were not seen: {_why_unseen(soak, RUNNING)}",
            evidence,
        )
    if soak.foreign:
        return Judgement(
            Outcome.INCONCLUSIVE,
            f"{soak.foreign:g} requests were in the engine before the first of this load: "
            "somebody else uses the server; soak one that nobody else does",
            evidence,
        )
    wrong = [
        f"from minute {stay.since / 60:.1f} to {stay.until / 60:.1f} at least {stay.requests:g} "
        f"requests were in the engine, at {stay.over} of {stay.looks} looks more than clients "
        "waited for"
        for stay in soak.overstays
        if stay.until - stay.since >= load.stuck_seconds and stay.over >= _MOSTLY * stay.looks
    ]
    if soak.settled is None:
        wrong.append(
            f"{soak.left:g} requests still ran or waited {load.settle_seconds:g} s after the last "
            "client was gone"
        )
    if wrong:
        return Judgement(Outcome.FAIL, "; ".join(wrong[:_MOST_NAMED]), evidence)
    said = f"all requests left the engine, the last {soak.settled:.1f} s after the load"
    return _if_loaded(soak, load, Judgement(Outcome.PASS, said, evidence))


def judge_answers(soak: Soak, load: SoakLoad) -> Judgement:
    """Whether fixed probes were always answered as they were at first."""
    if not soak.probes or any(probe.asked < 2 or not probe.answers for probe in soak.probes):
        return Judgement(Outcome.INCONCLUSIVE, "a probe was answered less than twice")
    wrong = [text for probe in soak.probes if (text := _changed(probe, load))]
    counts = {
        probe.name: {"asked": probe.asked, "as_first": probe.answers[0].times}
        for probe in soak.probes
    }
    if wrong:
        return Judgement(Outcome.FAIL, "; ".join(wrong[:_MOST_NAMED]), {"probes": counts})
    asked = sum(probe.asked for probe in soak.probes)
    same = sum(probe.answers[0].times for probe in soak.probes)
    said = f"{same} of {asked} answers to {len(soak.probes)} probes were as the first"
    return _if_loaded(soak, load, Judgement(Outcome.PASS, said, {"probes": counts}))


def judge_latency(soak: Soak, load: SoakLoad) -> Judgement:
    """Whether the latency of any probe keeps growing, on a host that others left alone.

    What others do on the host slows probes as well, so a drift is the server's only where the
    host was seen, and seen to be idle beside it.
    """
    series = [_relative(one) for one in soak.series(LATENCY)]
    judged = _judge_growth(soak, load, series, load.latency, "latency of probes")
    others = [_since(one, _warm_up(soak, load)) for one in soak.series(OTHERS)]
    shares = [sum(values) / len(values) for values in others if values]
    evidence = {**judged.evidence, "cores_used_by_others": shares[0] if shares else None}
    if judged.outcome is Outcome.FAIL:
        doubt = ""
        if not shares:
            doubt = f"the host was not seen ({_why_unseen(soak, OTHERS)})"
        elif shares[0] > load.host_busy:
            doubt = (
                f"others used {shares[0]:.0%} of the host's cores, more than {load.host_busy:.0%}"
            )
        if doubt:
            return Judgement(
                Outcome.INCONCLUSIVE,
                f"{judged.sentence}, but {doubt}: that may be why; soak on a host of its own",
                evidence,
            )
    return Judgement(judged.outcome, judged.sentence, evidence)


def judge_survival(soak: Soak, load: SoakLoad) -> Judgement:
    """Whether the engine and all its processes lived, and every request came out as it should."""
    wrong = []
    if soak.died:
        wrong.append(f"the engine died after {soak.duration / 60:.1f} min: {soak.died}")
    wrong += [f"its process {role} ended during the load" for role in soak.gone]
    sent = sum(tally.sent for tally in soak.requests.values())
    bad = sum(tally.wrong for tally in soak.requests.values())
    evidence: dict[str, Any] = {
        "requests": {
            kind: {"sent": it.sent, "wrong": it.wrong, "unsent": it.unsent}
            for kind, it in soak.requests.items()
        },
        "log_errors": soak.log_errors,
    }
    if bad or soak.wrong:
        told = [f"{it.kind} at minute {it.at / 60:.1f}: {it.what}" for it in soak.wrong]
        wrong.append(
            f"{bad} of {sent} requests, and {_probes_unanswered(soak)} probes, came out as they "
            "should not: " + "; ".join(told[:_MOST_NAMED])
        )
    if wrong:
        return Judgement(Outcome.FAIL, "; ".join(wrong), evidence)
    said = f"{sent} requests over {soak.duration / 60:.1f} min all came out as they should"
    return _if_loaded(soak, load, Judgement(Outcome.PASS, said, evidence))


SOAK_JUDGES: dict[str, Callable[[Soak, SoakLoad], Judgement]] = {
    "soak-memory": judge_memory,
    "soak-device-memory": judge_device_memory,
    "soak-descriptors": judge_descriptors,
    "soak-requests": judge_requests,
    "soak-answers": judge_answers,
    "soak-latency": judge_latency,
    "soak-survival": judge_survival,
}


def _judge_growth(
    soak: Soak, load: SoakLoad, series: Sequence[Watched], tolerated: Tolerated, what: str
) -> Judgement:
    if not series:
        why = _why_unseen(soak, *[what, *COUNTED])
        return Judgement(Outcome.INCONCLUSIVE, f"{what} was not seen: {why}")
    tolerance = Tolerance(tolerated.hourly, tolerated.least, load.confidence)
    found = [
        (
            one,
            growth_of(
                one.times,
                one.values,
                tolerance,
                warm_up=_warm_up(soak, load),
                comparisons=len(series),
            ),
        )
        for one in series
    ]
    evidence = {"growth": {one.name: _told(growth) for one, growth in found}}
    grows = [_sentence(one, growth, tolerated) for one, growth in found if _is(growth, "grows")]
    unclear = [(one, growth) for one, growth in found if _is(growth, "cannot tell")]
    judged = max(0.0, soak.duration - _warm_up(soak, load)) / 60
    over = f"over the last {judged:.1f} of {soak.duration / 60:.1f} min"
    if grows:
        return Judgement(Outcome.FAIL, f"{over}: " + "; ".join(grows[:_MOST_NAMED]), evidence)
    if unclear:
        told = [
            f"{_sentence(one, growth, tolerated)} ({growth.why})"
            for one, growth in unclear[:_MOST_NAMED]
        ]
        minutes = [growth.minutes_needed for _, growth in unclear]
        known = [it for it in minutes if it is not None]
        takes = (
            f"--soak {max(known):.0f} would tell"
            if len(known) == len(minutes)
            else "a day would not tell at this much noise"
        )
        return Judgement(
            Outcome.INCONCLUSIVE,
            f"{over}, too little to tell: {'; '.join(told)}; {takes}",
            evidence,
        )
    worst = max(found, key=lambda it: it[1].hourly)
    said = f"{over}: {len(found)} series are level; {_sentence(*worst, tolerated)}"
    return _if_loaded(soak, load, Judgement(Outcome.PASS, said, evidence))


def _is(growth: Growth, finding: str) -> bool:
    return growth.finding == finding


def _told(growth: Growth) -> dict[str, Any]:
    """The numbers, without the infinities that JSON has no word for."""
    edges = {"low": growth.low, "high": growth.high}
    return {
        "finding": growth.finding,
        "why": growth.why,
        "hourly": growth.hourly,
        **{name: edge if abs(edge) < float("inf") else None for name, edge in edges.items()},
        "grown": growth.grown,
        "judged_from": growth.judged_from,
        "judged_until": growth.judged_until,
        "minutes_needed": growth.minutes_needed,
    }


def _sentence(one: Watched, growth: Growth, tolerated: Tolerated) -> str:
    unit = f" {one.unit}" if one.unit else ""
    return (
        f"{one.name} changed by {growth.hourly:+.3g}{unit} an hour "
        f"({growth.low:+.3g} to {growth.high:+.3g}; {tolerated.hourly:g} are tolerated)"
    )


def _warm_up(soak: Soak, load: SoakLoad) -> float:
    """Seconds at the beginning that are not judged."""
    return max(load.warm_up * soak.duration, 60 * load.warm_up_minutes)


def _if_loaded(soak: Soak, load: SoakLoad, judged: Judgement) -> Judgement:
    """``judged``, unless the load was not the one that the profile declares."""
    sent = sum(tally.sent for tally in soak.requests.values())
    unsent = sum(tally.unsent for tally in soak.requests.values())
    doubt = ""
    if not sent:
        doubt = "no request was sent"
    elif soak.died:
        doubt = f"the engine died after {soak.duration / 60:.1f} min"
    elif sent < load.minimum_sent * (sent + unsent):
        doubt = (
            f"{unsent} of {sent + unsent} requests were not sent, since {load.most_at_once} were "
            "under way: the server is slower than the declared rate"
        )
    if not doubt:
        return judged
    return Judgement(Outcome.INVALID, f"{doubt}; {judged.sentence}", judged.evidence)


def _changed(probe: Probe, load: SoakLoad) -> str:
    """What is wrong with the answers to a probe; empty for nothing."""
    first, *others = probe.answers
    for other in others:
        if first.right and not other.right:
            return (
                f"{probe.name}: {first.text!r} at first, and from minute {other.first_at / 60:.1f} "
                f"{other.text!r}, which is wrong ({other.times} of {probe.asked})"
            )
    answered = sum(answer.times for answer in probe.answers)
    if first.times < load.agreement * answered:
        return (
            f"{probe.name}: {first.times} of {answered} answers were {first.text!r}, the first; "
            f"others were {others[0].text!r} from minute {others[0].first_at / 60:.1f} on"
        )
    return ""


def _probes_unanswered(soak: Soak) -> int:
    return sum(probe.asked - sum(answer.times for answer in probe.answers) for probe in soak.probes)


def _relative(series: Watched) -> Watched:
    """The series as shares of its median, so that one tolerance holds for all probes."""
    ordered = sorted(series.values)
    median = ordered[len(ordered) // 2] or 1.0

    def shares(column: Sequence[float]) -> tuple[float, ...]:
        return tuple(value / median for value in column)

    return replace(
        series,
        unit="of its median",
        values=shares(series.values),
        lows=shares(series.lows),
        highs=shares(series.highs),
    )


def _since(series: Watched, at: float) -> list[float]:
    pairs = zip(series.times, series.values, strict=True)
    return [value for time, value in pairs if time >= at]


def _why_unseen(soak: Soak, *quantities: str) -> str:
    found = [reason for name, reason in soak.unseen.items() if name in quantities]
    return found[0] if found else "the soak left no series of it"
