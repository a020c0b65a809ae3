"""Soaks as plots: every watched quantity over the time of the load, its processes side by side."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.soak_record import KIND, Soak, Watched, soak_from
from pytest_qwenvl.report.html_measured import finite
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
from pytest_qwenvl.report.results import Result, RunRecord

_WIDTH, _HEIGHT = 380, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 368.0, 26.0, 192.0
_MOST_STEPS = 180
_MOST_DRAWINGS = 40


@dataclass(frozen=True)
class ShownSoak:
    """A soak with its drawings and what its requirements came to, worst first as judged."""

    model: str
    deployment: str
    minutes: float
    watcher: float
    results: tuple[tuple[str, str, str], ...]
    drawings: tuple[Markup, ...]
    left_out: int


def soaks_of(run: RunRecord) -> list[ShownSoak]:
    """Every soak that the report keeps and that can be read."""
    found = []
    for result in run.results:
        kept = result.evidence.get("measurement")
        if not isinstance(kept, dict) or kept.get("kind") != KIND:
            continue
        try:
            soak = soak_from(kept)
        except MeasurementError:
            # ``gate`` says what is wrong with it; the page shows the rest.
            continue
        beside = [
            it
            for it in run.results
            if (it.group, it.model, it.deployment) == ("soak", result.model, result.deployment)
        ]
        found.append(_shown(result, soak, beside))
    return found


def over_time(series: Watched, judged_from: float | None) -> Markup:
    """Means of samples with their extremes, and where judging begins."""
    x = Scale(0, max(1.0, series.times[-1] / 60), _LEFT, _RIGHT)
    y = scale_of([*series.lows, *series.highs], _BOTTOM, _TOP, from_zero=False)
    labels = {tick: number(tick) for tick in y.ticks()}
    parts = [x_axis(x, _TOP, _BOTTOM), y_axis(y, _LEFT, _RIGHT, labels)]
    step = max(1, -(-len(series.times) // _MOST_STEPS))
    bars, line = [], []
    for at in range(0, len(series.times), step):
        some = slice(at, at + step)
        values = series.values[some]
        place = short(x(series.times[at] / 60))
        low, high = min(series.lows[some]), max(series.highs[some])
        bars.append(f"M{place} {short(y(low))}V{short(y(high))}")
        line.append(f"{place} {short(y(sum(values) / len(values)))}")
    parts.append(tag("path", d="".join(bars), class_="spread"))
    parts.append(tag("polyline", points=" ".join(line), class_="curve"))
    if judged_from is not None and judged_from / 60 < x.high:
        place = short(x(judged_from / 60))
        parts.append(
            tag("path", d=f"M{place} {short(_TOP)}V{short(_BOTTOM)}", class_="budget soft")
        )
    unit = f" ({series.unit})" if series.unit else ""
    parts.append(word("minutes", x=_LEFT - 50, y=_BOTTOM + 32))
    parts.append(tag("text", f"{series.name}{unit}", x=_RIGHT, y=_TOP - 10, class_="end strong"))
    told = (
        f"{series.name}{unit} over {series.times[-1] / 60:.0f} min: {series.samples} samples, "
        f"{number(min(series.lows))} to {number(max(series.highs))}"
    )
    return drawing(_WIDTH, _HEIGHT, told, *parts)


def _shown(result: Result, soak: Soak, beside: list[Result]) -> ShownSoak:
    judged_from: dict[str, float] = {}
    for one in beside:
        growth = one.evidence.get("growth")
        for name, told in growth.items() if isinstance(growth, dict) else ():
            at = finite(told.get("judged_from")) if isinstance(told, dict) else None
            if at is not None:
                judged_from[name] = at
    # What is judged first; all of it is in the report.
    series = sorted(soak.watched, key=lambda it: it.name not in judged_from)
    return ShownSoak(
        result.model,
        result.deployment,
        soak.duration / 60,
        soak.watcher,
        tuple(
            (it.requirement, it.outcome.value, str(it.evidence.get("judgement", it.reason)))
            for it in beside
        ),
        tuple(over_time(it, judged_from.get(it.name)) for it in series[:_MOST_DRAWINGS]),
        max(0, len(series) - _MOST_DRAWINGS),
    )
