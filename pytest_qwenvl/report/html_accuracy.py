"""Scores as a plot with floors and baselines, and items that changed between two runs (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from markupsafe import Markup

from pytest_qwenvl.report.html_measured import Item, Scored
from pytest_qwenvl.report.html_svg import Scale, drawing, short, tag, x_axis

_WIDTH = 760
_LEFT, _RIGHT, _TOP = 250.0, 700.0, 10.0
_ROW = 30


class Flip(NamedTuple):
    """An item that one of two runs answered rightly and the other did not."""

    lost: bool
    before: Item
    now: Item


class Flips(NamedTuple):
    """What changed between two evaluations of the same task."""

    scored: Scored
    shared: int
    lost: int
    gained: int
    flips: tuple[Flip, ...]


def partner_of(scored: Scored, others: Sequence[Scored]) -> Scored | None:
    """What to compare an evaluation with: the same in another run, else what its own run took."""
    place = (scored.model, scored.deployment, scored.task)
    same = (it for it in others if (it.model, it.deployment, it.task) == place)
    found = next(same, None)
    if found is None and scored.earlier_score is not None and 0 <= scored.earlier_score <= 1:
        items = scored.earlier_items
        return replace(scored, score=scored.earlier_score, items=items, interval=None)
    return found


def scores_plot(scores: Sequence[Scored], baselines: Sequence[Scored | None]) -> Markup:
    """One row an evaluation: score with interval, floor, and the baseline's score with its own."""
    shown = [*scores, *(it for it in baselines if it is not None)]
    values = [it.score for it in shown] + [it.floor for it in scores if it.floor is not None]
    values += [end for it in shown if it.interval for end in it.interval]
    low = max(0.0, min(values) - 0.05)
    bottom = _TOP + _ROW * len(scores)
    x = Scale(low, 1.0 if low < 1 else 1.01, _LEFT, _RIGHT)
    parts = [x_axis(x, _TOP, bottom)]
    for row, (scored, baseline) in enumerate(zip(scores, baselines, strict=True)):
        middle = _TOP + _ROW * (row + 0.5)
        place = f"{scored.model}/{scored.deployment}"
        label = place if len(place) <= 42 else f"{place[:41]}…"
        parts.append(tag("text", label, x=_LEFT - 8, y=middle - 1, class_="end"))
        parts.append(tag("text", scored.task[:42], x=_LEFT - 8, y=middle + 11, class_="end faint"))
        if scored.floor is not None:
            kind = "budget" if scored.calibrated else "budget soft"
            at = short(x(scored.floor))
            parts.append(tag("path", d=f"M{at} {short(middle - 11)}v22", class_=kind))
        if baseline is not None:
            parts.append(_dot(baseline, x, middle + 6, "point hollow"))
        parts.append(_dot(scored, x, middle - (5 if baseline else 0), "point"))
        parts.append(tag("text", f"{scored.score:.3f}", x=_RIGHT + 8, y=middle + 4))
    told = "; ".join(
        f"{it.model}/{it.deployment} {it.task}: {it.score:.4f}"
        + (f", floor {it.floor:g}" if it.floor is not None else "")
        for it in scores[:20]
    )
    return drawing(_WIDTH, int(bottom + 24), told, *parts, large=True)


def _dot(scored: Scored, x: Scale, y: float, kind: str) -> Markup:
    parts = Markup("")
    if scored.interval is not None:
        low, high = (short(x(it)) for it in scored.interval)
        parts += tag(
            "path",
            d=f"M{low} {short(y - 3)}v6M{low} {short(y)}H{high}M{high} {short(y - 3)}v6",
            class_="interval",
        )
    return parts + tag("circle", cx=x(scored.score), cy=y, r=4, class_=kind)


def flips_of(scored: Scored, baseline: Scored, most: int) -> Flips:
    """The items of both runs whose answers changed between right and wrong, the lost ones first."""
    before = {item.key: item for item in baseline.items}
    pairs = [
        (old, item)
        for item in scored.items
        if (old := before.get(item.key)) is not None
        and (old.asked, old.target) == (item.asked, item.target)
    ]
    flips = [Flip(old.right, old, new) for old, new in pairs if old.right != new.right]
    flips.sort(key=lambda flip: not flip.lost)
    lost = sum(flip.lost for flip in flips)
    return Flips(scored, len(pairs), lost, len(flips) - lost, tuple(flips[:most]))
