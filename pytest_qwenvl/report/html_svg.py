"""Plots as inline SVG: scales, axes and elements, drawn without any library (pure).

Colours and dashes come from the page's style sheet by class, so that a plot follows dark mode and
print; positions are plain attributes, since the page allows no style attributes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import Markup, escape

from pytest_qwenvl.report.html_text import clean
from pytest_qwenvl.report.html_words import SEPARATOR, WORDS

_LOG_FROM = 25
"""Above this ratio of largest to smallest value an axis is logarithmic."""


class Scale(NamedTuple):
    """Values to pixels, linear or logarithmic; values outside are put on the nearer end."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of ``value``."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values, some four to seven, for labels."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1.0, 2.0, 5.0) if len(decades) <= 4 else (1.0,)
            ticks = [step * 10.0**decade for decade in decades for step in steps]
        else:
            rough = (self.high - self.low) / 5
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(power * it for it in (1, 2, 5, 10) if power * it >= rough)
            first = math.ceil(self.low / step)
            ticks = [step * it for it in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [tick for tick in ticks if self.low <= tick <= self.high * (1 + 1e-9)]


def scale_of(values: Iterable[float], start: float, end: float, *, from_zero: bool = True) -> Scale:
    """A scale on which all of ``values`` can be told apart from its ends.

    Logarithmic where the positive values span more than a factor of 25; else linear, from zero
    unless ``from_zero`` is false.
    """
    known = [value for value in values if math.isfinite(value)]
    positive = [value for value in known if value > 0]
    if from_zero and positive and max(positive) / min(positive) > _LOG_FROM:
        return Scale(min(positive) / 1.25, max(positive) * 1.25, start, end, True)
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if from_zero:
        low = min(0.0, low)
    if high <= low:
        high = low + (abs(low) or 1.0)
    margin = (high - low) * 0.05
    return Scale(low if from_zero else low - margin, high + margin, start, end)


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """One element; attribute names lose a trailing ``_`` and write ``-`` for ``_``.

    Everything in it is escaped unless it is markup already; attributes that are None are left out.
    """
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is None:
            continue
        if isinstance(value, float):
            value = short(value)
        elif isinstance(value, str) and not isinstance(value, Markup):
            value = clean(value)
        parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"')
    inner = Markup("").join(it if isinstance(it, Markup) else clean(str(it), 400) for it in content)
    return Markup(f"{''.join(parts)}>{inner}</{name}>" if content else f"{''.join(parts)}/>")


def word(key: str, *arguments: object, **attributes: object) -> Markup:
    """An SVG text of the page's own words, which the language switch knows."""
    return tag(
        "text",
        WORDS[key].en.format(*arguments),
        data_t=key,
        data_a=SEPARATOR.join(map(str, arguments)) or None,
        **attributes,
    )


def short(value: float) -> str:
    """A position with as many digits as a screen can show."""
    return f"{value:.1f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"


def number(value: float) -> str:
    """A value as a label: three significant digits, no exponent within reason."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.3g}"


def drawing(width: int, height: int, title: str, *content: Markup, large: bool = False) -> Markup:
    """A whole ``svg`` with its text alternative; it shrinks with the page and never grows."""
    return tag(
        "svg",
        tag("title", title),
        *content,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        class_="wide" if large else None,
    )


def x_axis(scale: Scale, top: float, bottom: float, unit: str = "") -> Markup:
    """Labels below ``bottom`` and faint lines up to ``top``."""
    ticks = scale.ticks()
    parts = []
    right = -math.inf
    for tick in ticks:
        at = scale(tick)
        label = number(tick) + (unit if tick == ticks[-1] else "")
        parts.append(f"M{short(at)} {short(top)}V{short(bottom)}")
        half = 3.2 * len(label)
        if at - half < right:
            continue
        right = at + half + 6
        parts.append(tag("text", label, x=at, y=bottom + 14.0, class_="mid"))
    lines = "".join(it for it in parts if not isinstance(it, Markup))
    labels = Markup("").join(it for it in parts if isinstance(it, Markup))
    axis = f"M{short(scale.start)} {short(bottom)}H{short(scale.end)}"
    return tag("path", d=lines, class_="grid") + tag("path", d=axis, class_="axis") + labels


def y_axis(scale: Scale, left: float, right: float, labels: dict[float, str]) -> Markup:
    """Labels left of ``left`` and faint lines to ``right``."""
    lines = "".join(f"M{short(left)} {short(scale(at))}H{short(right)}" for at in labels)
    texts = [
        tag("text", label, x=left - 4.0, y=scale(at) + 3.5, class_="end")
        for at, label in labels.items()
    ]
    return tag("path", d=lines, class_="grid") + Markup("").join(texts)
