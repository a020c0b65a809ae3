"""What the evidence of accuracy and latency requirements holds for plots, read leniently (pure).

A report may be older, cut short, or edited: what is missing or no number is left out of the plot,
and never a reason for there being no page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_qwenvl.report.results import Result, RunRecord
from pytest_qwenvl.report.table import TROUBLE_WORST_FIRST

_PERCENTILES = (50.0, 90.0, 95.0, 99.0)


@dataclass(frozen=True)
class Budget:
    """A budget of one metric and what the load showed of it; times in milliseconds."""

    metric: str
    percentile: float
    budget_ms: float
    vouched: bool
    sentence: str
    observed_ms: float | None = None
    interval_ms: tuple[float, float] | None = None


@dataclass(frozen=True)
class Series:
    """One metric of a load.

    Attributes:
        values: a time in milliseconds a request that succeeded; empty where the report has
            percentiles alone.
        starts: seconds since the first request was sent, one a value.
        percentiles: value by percentile.
        earlier: values of the baseline's load; empty without one.
    """

    metric: str
    values: tuple[float, ...]
    starts: tuple[float, ...]
    percentiles: Mapping[float, float]
    earlier: tuple[float, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether there is a value a request."""
        return bool(self.values)


@dataclass(frozen=True)
class Load:
    """A load that a deployment was put under.

    Attributes:
        requirement: the worst judged of those that rest on it, with its outcome and sentence.
        failed_at: seconds since the first request, one a request that failed.
        rate: requests per second, as sent; None where the report does not say.
    """

    model: str
    deployment: str
    workload: str
    requirement: str
    outcome: str
    sentence: str
    requests: int
    rate: float | None
    series: tuple[Series, ...]
    budgets: tuple[Budget, ...]
    failed_at: tuple[float, ...]


@dataclass(frozen=True)
class Item:
    """One question of an evaluation.

    Attributes:
        key: task and number of the document.
        asked: digests of its prompt and pictures; only equal ones were asked the same.
    """

    key: str
    asked: tuple[str, ...]
    answer: str
    parsed: str
    target: str
    right: bool
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class Scored:
    """An evaluation: a score with its interval, against a floor; shares between 0 and 1.

    Attributes:
        requirement: the worst judged of those that rest on it, with its outcome and sentence.
        items: empty where the report keeps the score alone.
        earlier_score, earlier_items: of the baseline that the run itself compared it with.
    """

    model: str
    deployment: str
    task: str
    requirement: str
    outcome: str
    sentence: str
    n: int
    score: float
    interval: tuple[float, float] | None
    floor: float | None
    calibrated: bool
    items: tuple[Item, ...]
    earlier_score: float | None = None
    earlier_items: tuple[Item, ...] = ()


def loads_of(run: RunRecord) -> list[Load]:
    """Every load of which the report has times, by deployment and workload."""
    loads = (_load(key, results) for key, results in _grouped(run, "latency", "workload").items())
    return [load for load in loads if load.series]


def scores_of(run: RunRecord) -> list[Scored]:
    """Every evaluation of which the report has a score, once."""
    scored = (_scored(key, results) for key, results in _grouped(run, "accuracy", "task").items())
    return [its for its in scored if its is not None]


def finite(value: object) -> float | None:
    """``value`` where it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def _grouped(run: RunRecord, group: str, name: str) -> dict[tuple[str, str, str], list[Result]]:
    """The results of a group by model, deployment and what was measured."""
    found: dict[tuple[str, str, str], list[Result]] = {}
    for result in run.results:
        if result.group != group:
            continue
        kept = result.evidence.get("measurement")
        of = kept.get("name") if isinstance(kept, dict) else result.evidence.get(name)
        if of is None and isinstance(kept, str):
            of = kept.partition(" ")[2]
        if isinstance(of, str):
            found.setdefault((result.model, result.deployment, of), []).append(result)
    return found


def _load(key: tuple[str, str, str], results: Sequence[Result]) -> Load:
    kept = _kept(results, "measurement")
    rows = _rows(kept.get("requests"))
    earlier = _rows(_kept(results, "baseline_measurement").get("requests"))
    percentiles: Mapping[str, Any] = {}
    budgets: list[Budget] = []
    for result in results:
        percentiles = percentiles or _mapping(result.evidence.get("percentiles_ms"))
        entries = map(_budget, _rows(result.evidence.get("budgets")))
        budgets += [budget for budget in entries if budget is not None]
    judged = _decisive(results, "budgets")
    starts = [start for row in rows if (start := finite(row.get("start"))) is not None]
    first = min(starts, default=0.0)
    rates = [finite(row.get("rate_sent")) for row in _all_budgets(results)]
    return Load(
        *key,
        requirement=judged.requirement,
        outcome=judged.outcome.value,
        sentence=str(judged.evidence.get("judgement", judged.reason)),
        requests=len(rows) or _requests(results),
        rate=next((rate for rate in rates if rate is not None), None),
        series=tuple(_series(rows, percentiles, first, earlier)),
        budgets=tuple(budgets),
        failed_at=tuple(
            start - first
            for row in rows
            if _failed(row) and (start := finite(row.get("start"))) is not None
        ),
    )


def _series(
    rows: Sequence[Mapping[str, Any]],
    percentiles: Mapping[str, Any],
    first: float,
    earlier: Sequence[Mapping[str, Any]],
) -> Iterable[Series]:
    for metric in ("ttft", "tpot", "e2el"):
        pairs = []
        for row in rows:
            start, value = finite(row.get("start")), _milliseconds(row, metric)
            if not _failed(row) and start is not None and value is not None:
                pairs.append((start - first, value))
        values = tuple(value for _, value in pairs)
        known = {
            float(name[1:]): value
            for name, its in _mapping(percentiles.get(metric)).items()
            if (value := finite(its)) is not None and name[1:].replace(".", "", 1).isdecimal()
        }
        if values:
            ordered = sorted(values)
            known = known or {
                p: ordered[min(len(ordered) - 1, math.ceil(p / 100 * len(ordered)) - 1)]
                for p in _PERCENTILES
            }
        if values or known:
            starts = tuple(start for start, _ in pairs)
            yield Series(
                metric, values, starts, dict(sorted(known.items())), _times(earlier, metric)
            )


def _times(rows: Sequence[Mapping[str, Any]], metric: str) -> tuple[float, ...]:
    values = (_milliseconds(row, metric) for row in rows if not _failed(row))
    return tuple(value for value in values if value is not None)


def _milliseconds(row: Mapping[str, Any], metric: str) -> float | None:
    """The time in milliseconds; None for what is no time."""
    value = finite(row.get(metric))
    return value * 1000 if value is not None and value >= 0 else None


def _failed(row: Mapping[str, Any]) -> bool:
    return bool(row.get("error")) or not finite(row.get("ttft"))


def _budget(entry: Mapping[str, Any]) -> Budget | None:
    percentile, limit = finite(entry.get("percentile")), finite(entry.get("budget_ms"))
    if percentile is None or limit is None or not 0 < percentile < 100 or limit <= 0:
        return None
    return Budget(
        metric=str(entry.get("metric", "")),
        percentile=percentile,
        budget_ms=limit,
        vouched=bool(entry.get("vouched")),
        sentence=str(entry.get("judgement", "")),
        observed_ms=finite(entry.get("observed_ms")),
        interval_ms=_pair(entry.get("interval_ms")),
    )


def _scored(key: tuple[str, str, str], results: Sequence[Result]) -> Scored | None:
    judged = _decisive(results, "floor")
    # Several requirements may rest on one evaluation; that with a floor is about the score.
    about = next((it for it in results if finite(it.evidence.get("floor")) is not None), None)
    about = about or next((it for it in results if "score" in it.evidence), results[0])
    evidence = about.evidence
    kept = _kept(results, "measurement")
    score = finite(evidence.get("score", kept.get("score")))
    items = tuple(_items(_rows(kept.get("items"))))
    count = len(items) if items else finite(evidence.get("items"))
    if score is None or not 0 <= score <= 1 or count is None:
        return None
    earlier = _kept(results, "baseline_measurement")
    return Scored(
        *key,
        requirement=judged.requirement,
        outcome=judged.outcome.value,
        sentence=str(judged.evidence.get("judgement", judged.reason)),
        n=int(count),
        score=score,
        interval=_pair(evidence.get("interval")),
        floor=finite(evidence.get("floor")),
        calibrated=bool(evidence.get("calibrated")),
        items=items,
        earlier_score=finite(earlier.get("score")),
        earlier_items=tuple(_items(_rows(earlier.get("items")))),
    )


def _items(rows: Iterable[Mapping[str, Any]]) -> Iterable[Item]:
    for row in rows:
        digests = row.get("image_digests")
        pictures = tuple(map(str, digests)) if isinstance(digests, list) else ()
        yield Item(
            key=f"{row.get('task', '')} {row.get('doc_id', '')}".strip(),
            asked=(str(row.get("prompt_digest", "")), *pictures),
            answer=str(row.get("answer", "")),
            parsed=str(row.get("parsed", "")),
            target=str(row.get("target", "")),
            right=finite(row.get("score")) == 1,
            pictures=pictures,
        )


def _kept(results: Sequence[Result], key: str) -> Mapping[str, Any]:
    """The measurement that one of ``results`` keeps whole; the others only name it."""
    return next((its for it in results if (its := _mapping(it.evidence.get(key)))), {})


def _decisive(results: Sequence[Result], key: str) -> Result:
    """The worst of ``results``; of equals, one whose evidence has ``key``."""
    order = [*TROUBLE_WORST_FIRST, "UNSUPPORTED", "PASS"].index
    return min(results, key=lambda it: (order(it.outcome.value), key not in it.evidence))


def _requests(results: Sequence[Result]) -> int:
    counts = [finite(it.evidence.get("asked")) for it in results]
    counts += [finite(row.get("requests")) for row in _all_budgets(results)]
    return int(next((count for count in counts if count is not None), 0))


def _all_budgets(results: Sequence[Result]) -> list[Mapping[str, Any]]:
    return [row for result in results for row in _rows(result.evidence.get("budgets"))]


def _rows(value: object) -> list[Mapping[str, Any]]:
    """Rows, whether they were written one by one or as a table of columns."""
    if isinstance(value, list):
        return [row for row in value if isinstance(row, dict)]
    if isinstance(value, dict):
        columns = {str(key): its for key, its in value.items() if isinstance(its, list)}
        length = max(map(len, columns.values()), default=0)
        return [
            {key: its[at] for key, its in columns.items() if at < len(its)} for at in range(length)
        ]
    return []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _pair(value: object) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    low, high = finite(value[0]), finite(value[1])
    return (low, high) if low is not None and high is not None and low <= high else None
