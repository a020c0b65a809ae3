"""Which engine held which device when, as a plot (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from pytest_qwenvl.report.html_measured import finite
from pytest_qwenvl.report.html_svg import Scale, drawing, short, tag, word, x_axis
from pytest_qwenvl.report.results import EngineRecord, RunRecord

_WIDTH = 980
_LEFT, _RIGHT, _TOP = 64.0, 970.0, 10.0
_BAR = 16
_GAP = 4
_MOST_BARS = 1500
_WIDEST_LETTER = 5.8


class Bar(NamedTuple):
    """An engine or measuring process on a row of the plot; times in seconds since the run began.

    Attributes:
        end: of an engine, when the last requirement that it decided was decided: the report does
            not hold when it was stopped.
    """

    device: int | None
    engine: EngineRecord
    start: float
    ready: float
    end: float


def bars_of(run: RunRecord) -> list[Bar]:
    """A bar an engine and device, in the order in which the engines were started."""
    bars = []
    for engine in sorted(run.engines, key=lambda it: finite(it.started) or 0.0)[:_MOST_BARS]:
        start, ready = finite(engine.started), finite(engine.ready) or 0.0
        if start is None or start <= 0 or finite(run.started) is None:
            continue
        end = start + max(ready, finite(engine.seconds) or 0.0)
        if engine.seconds is None:
            end = max(end, _last_decided(run, engine))
        at = start - run.started
        for device in engine.devices or (None,):
            bars.append(Bar(device, engine, at, at + ready, end - run.started))
    return bars


def _last_decided(run: RunRecord, engine: EngineRecord) -> float:
    """When the engine's last requirement ended: before another engine of its deployment began."""
    place = (engine.model, engine.deployment)
    later = [
        it.started
        for it in run.engines
        if (it.model, it.deployment) == place
        and it.kind == engine.kind
        and it.started > engine.started
    ]
    until = min(later, default=math.inf)
    ends = [
        end
        for result in run.results
        if (result.model, result.deployment) == place
        and engine.started <= result.started < until
        and (end := finite(result.started + result.duration)) is not None
    ]
    return max(ends, default=engine.started)


def timeline(bars: Sequence[Bar]) -> Markup:
    """The plot: a row a device, more where engines held it at the same time."""
    devices = sorted({bar.device for bar in bars}, key=lambda it: -1 if it is None else it)
    end = max(bar.end for bar in bars)
    x = Scale(0, max(end / 60, 0.1), _LEFT, _RIGHT)
    y = _TOP
    rows = []
    for device in devices:
        lanes: list[float] = []
        top = y
        for bar in (it for it in bars if it.device == device):
            lane = next((at for at, free in enumerate(lanes) if free <= bar.start), len(lanes))
            lanes[lane : lane + 1] = [bar.end]
            rows.append(_bar(bar, x, top + lane * (_BAR + _GAP)))
        y = top + len(lanes) * (_BAR + _GAP) + _GAP
        place = {"x": _LEFT - 8, "y": top + 12, "class_": "end"}
        rows.append(
            word("no_device", **place) if device is None else word("device", device, **place)
        )
    told = f"{len(bars)} engines on {len(devices)} devices over {end / 60:.1f} minutes"
    return drawing(_WIDTH, int(y + 20), told, x_axis(x, _TOP, y), *rows, large=True)


def _bar(bar: Bar, x: Scale, top: float) -> Markup:
    engine = bar.engine
    start, ready, end = (x(at / 60) for at in (bar.start, bar.ready, bar.end))
    label = f"{engine.model}/{engine.deployment}"
    if engine.kind not in ("serve", "offline"):
        label += f" {engine.kind}"
    told = f"{label} ({engine.kind}), {bar.start:.0f} to {bar.end:.0f} s, {engine.outcome}"
    failed = engine.outcome == "failed"
    parts = [
        tag("title", told),
        tag("rect", x=start, y=top, width=max(ready - start, 1.0), height=_BAR, class_="starting"),
        tag(
            "rect",
            x=ready,
            y=top,
            width=max(end - ready, 1.0),
            height=_BAR,
            class_="failing" if failed else f"kind-{engine.kind}",
        ),
    ]
    if failed:
        cross = f"M{short(ready)} {short(top + 3)}l10 10m0 -10l-10 10"
        parts.append(tag("path", d=cross, class_="over"))
    room = int((end - start) / _WIDEST_LETTER) - 1
    if room >= 6:
        text = label if len(label) <= room else f"{label[: room - 1]}…"
        parts.append(tag("text", text, x=start + 4, y=top + 12, class_="on-bar"))
    return tag("g", *parts)
