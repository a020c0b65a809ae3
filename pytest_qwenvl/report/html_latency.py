"""Loads as plots: how times are distributed against their budgets, and over the run (pure)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from markupsafe import Markup

from pytest_qwenvl.report.html_measured import Budget, Load, Series
from pytest_qwenvl.report.html_svg import (
    Scale,
    drawing,
    number,
    scale_of,
    short,
    tag,
    word,
    x_axis,
    y_axis,
)

NAMES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "E2EL"}
"""The field's short names of the metrics."""

_WIDTH, _HEIGHT = 380, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 368.0, 26.0, 192.0
_MOST_STEPS = 100
_MOST_BINS = 90
_MOST_CROSSES = 120


def distribution(load: Load, series: Series) -> Markup:
    """The share of requests that took at most a time, with the budgets of that metric."""
    name = NAMES.get(series.metric, series.metric)
    budgets = [budget for budget in load.budgets if budget.metric == series.metric]
    points = _steps(series)
    earlier = _share_steps(series.earlier)
    marks = [value for value, _ in points + earlier] + [it.budget_ms for it in budgets]
    x = scale_of(marks, _LEFT, _RIGHT)
    y = Scale(0, 1, _BOTTOM, _TOP)
    labels = {share: f"{share:.0%}" for share in (0.0, 0.25, 0.5, 0.75, 1.0)}
    parts = [x_axis(x, _TOP, _BOTTOM, " ms"), y_axis(y, _LEFT, _RIGHT, labels)]
    for index, budget in enumerate(budgets):
        parts.append(_budget_marks(budget, x, y, _TOP - 4 - 11 * (index % 2)))
    if earlier:
        parts.append(tag("path", d=_staircase(earlier, x, y, True), class_="curve earlier"))
        parts.append(word("baseline.dashed", x=_RIGHT, y=_BOTTOM - 6, class_="end faint"))
    parts.append(tag("path", d=_staircase(points, x, y, series.whole), class_="curve"))
    parts += [_gate(budget, x, y) for budget in budgets]
    parts.append(word("share", x=_LEFT - 34, y=_BOTTOM + 32))
    parts.append(tag("text", name, x=_RIGHT, y=_BOTTOM + 32, class_="end strong"))
    told = f"{name}: {_told(series)}" + "".join(
        f"; budget p{budget.percentile:g} {number(budget.budget_ms)} ms" for budget in budgets
    )
    return drawing(_WIDTH, _HEIGHT, told, *parts)


def over_time(load: Load, series: Series) -> Markup:
    """One metric against the time of sending: median and spread of neighbours, what was over."""
    name = NAMES.get(series.metric, series.metric)
    budget = next((it for it in load.budgets if it.metric == series.metric), None)
    limit = [budget.budget_ms] if budget else []
    x = Scale(0, max([*series.starts, *load.failed_at, 1.0]), _LEFT, _RIGHT)
    y = scale_of([*series.values, *limit], _BOTTOM, _TOP)
    labels = {tick: number(tick) for tick in y.ticks()}
    parts = [x_axis(x, _TOP, _BOTTOM), y_axis(y, _LEFT, _RIGHT, labels)]
    bars, line = [], []
    for start, values in _bins(series):
        at = short(x(start))
        bars.append(f"M{at} {short(y(min(values)))}V{short(y(max(values)))}")
        line.append(f"{at} {short(y(statistics.median(values)))}")
    parts.append(tag("path", d="".join(bars), class_="spread"))
    parts.append(tag("polyline", points=" ".join(line), class_="curve"))
    if budget:
        at = short(y(budget.budget_ms))
        kind = "budget" if budget.vouched else "budget soft"
        parts.append(tag("path", d=f"M{short(_LEFT)} {at}H{short(_RIGHT)}", class_=kind))
        over = [
            f"M{short(x(start) - 3)} {short(y(value) - 3)}l6 6m0 -6l-6 6"
            for start, value in zip(series.starts, series.values, strict=True)
            if value > budget.budget_ms
        ]
        parts.append(tag("path", d="".join(over[:_MOST_CROSSES]), class_="over"))
    failed = [f"M{short(x(at) - 4)} {short(_TOP - 8)}h8l-4 7z" for at in load.failed_at]
    if failed:
        parts.append(tag("path", d="".join(failed[:_MOST_CROSSES]), class_="failed"))
    parts.append(word("seconds", x=_LEFT - 34, y=_BOTTOM + 32))
    parts.append(tag("text", f"{name} (ms)", x=_RIGHT, y=_BOTTOM + 32, class_="end strong"))
    told = f"{name} over {x.high:.0f} s: {_told(series)}; {len(load.failed_at)} failed"
    return drawing(_WIDTH, _HEIGHT, told, *parts)


def _told(series: Series) -> str:
    shown = ", ".join(f"p{p:g} {number(value)} ms" for p, value in series.percentiles.items())
    return f"{len(series.values)} requests, {shown}" if series.whole else shown


def _steps(series: Series) -> list[tuple[float, float]]:
    """Value and share of the distribution's steps, or of the percentiles there are."""
    if series.whole:
        return _share_steps(series.values)
    return [(value, p / 100) for p, value in series.percentiles.items()]


def _share_steps(times: Sequence[float]) -> list[tuple[float, float]]:
    """Value and share; at most a hundred steps, the largest value among them."""
    values = sorted(times)
    n = len(values)
    chosen = (
        range(n)
        if n <= _MOST_STEPS
        else sorted({round(step * (n - 1) / (_MOST_STEPS - 1)) for step in range(_MOST_STEPS)})
    )
    return [(values[index], (index + 1) / n) for index in chosen]


def _staircase(points: Sequence[tuple[float, float]], x: Scale, y: Scale, whole: bool) -> str:
    if not points:
        return ""
    if not whole:
        first, *rest = [f"{short(x(value))} {short(y(share))}" for value, share in points]
        return f"M{first}" + "".join(f"L{at}" for at in rest)
    steps = "".join(f"H{short(x(value))}V{short(y(share))}" for value, share in points)
    return f"M{short(x.start)} {short(y(0))}{steps}H{short(x.end)}"


def _budget_marks(budget: Budget, x: Scale, y: Scale, label_at: float) -> Markup:
    at = x(budget.budget_ms)
    end = at > (x.start + x.end) / 2
    return tag(
        "path",
        d=f"M{short(at)} {short(y(1))}V{short(y(0))}M{short(x.start)} "
        f"{short(y(budget.percentile / 100))}H{short(at)}",
        class_="budget" if budget.vouched else "budget soft",
    ) + tag(
        "text",
        f"p{budget.percentile:g} ≤ {number(budget.budget_ms)} ms",
        x=at,
        y=label_at,
        class_="budget-label end" if end else "budget-label",
    )


def _gate(budget: Budget, x: Scale, y: Scale) -> Markup:
    """The gating percentile as seen, with its interval."""
    if budget.observed_ms is None:
        return Markup("")
    at, height = x(budget.observed_ms), y(budget.percentile / 100)
    parts = Markup("")
    if budget.interval_ms is not None:
        low, high = (short(x(it)) for it in budget.interval_ms)
        parts += tag(
            "path",
            d=f"M{low} {short(height - 4)}v8M{low} {short(height)}H{high}M{high} "
            f"{short(height - 4)}v8",
            class_="interval",
        )
    return parts + tag("circle", cx=at, cy=height, r=3.5, class_="point")


def _bins(series: Series) -> list[tuple[float, list[float]]]:
    """Requests in order of sending, neighbours together, at most ninety of them."""
    pairs = sorted(zip(series.starts, series.values, strict=True))
    size = max(1, -(-len(pairs) // _MOST_BINS))
    groups = [pairs[at : at + size] for at in range(0, len(pairs), size)]
    return [
        (statistics.fmean(start for start, _ in its), [value for _, value in its]) for its in groups
    ]
