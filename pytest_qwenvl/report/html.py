"""``report.html``: the page a person looks at, made of a judged record alone.

One file that opens from disk: styles, script, plots and pictures are in it, and its content
security policy lets nothing else in. What models, servers and engines wrote is untrusted: every
value goes through :func:`~pytest_qwenvl.report.html_text.clean` and the template's escaping, and
the policy allows no script and no style but the page's own, by hash.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_qwenvl import __version__
from pytest_qwenvl.report.html_evidence import EvidenceReader, moment
from pytest_qwenvl.report.html_text import clean, value_text
from pytest_qwenvl.report.html_words import SEPARATOR, WORDS
from pytest_qwenvl.report.results import Outcome, RunRecord

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from pytest_qwenvl.report.html_accuracy import Flips
    from pytest_qwenvl.report.html_measured import Load, Scored
    from pytest_qwenvl.report.html_soak import ShownSoak

LARGEST_PAGE = 5_000_000
"""Bytes. Of a run that would take more the page shows less evidence, and says so."""

_ENGINE = ("vllm", "vllm_ascend", "torch_npu", "cann", "attached server")
_SHARES = (1.0, 0.3, 0.05)
_TEMPLATES = Path(__file__).parent / "templates"
_MOST_FLIPS = 40
_MOST_LOADS = 60


class ShownLoad(NamedTuple):
    """A load with its drawings.

    Attributes:
        over: requests over a budget, of any metric.
        timed: whether the report has a time a request, and so the drawing over time.
        percentiles: those that any metric has.
    """

    load: Load
    drawings: tuple[Markup, ...]
    over: int
    timed: bool
    percentiles: tuple[float, ...]


class Plots(NamedTuple):
    """Everything that is drawn."""

    loads: tuple[ShownLoad, ...]
    loads_left_out: int
    scores: Markup | None
    scored: tuple[tuple[Scored, Scored | None], ...]
    compared: bool
    flips: tuple[Flips, ...]
    timeline: Markup | None
    soaks: tuple[ShownSoak, ...]


def render_page(
    run: RunRecord, *, root: Path | None = None, baseline: RunRecord | None = None
) -> str:
    """The page of ``run``, whole.

    Args:
        run: a judged record.
        root: the report's folder, for pictures of requests and items; without it they are named
            only.
        baseline: an earlier run, for what changed in scores and items.
    """
    plots = _plots(run, baseline)
    for share in _SHARES:
        page = _render(run, plots, baseline, EvidenceReader(run.results, root, share))
        # What escaping and other scripts make of characters is only known now.
        if len(page.encode("utf-8")) <= LARGEST_PAGE:
            break
    return page


def pictures_folder(scored: Scored) -> str:
    """Where ``engines/lm_eval_worker.py`` leaves an evaluation's pictures in the report."""
    return f"engines/{scored.model}/{scored.deployment}/lm-eval-{scored.task}/pictures"


def _render(
    run: RunRecord, plots: Plots, baseline: RunRecord | None, reader: EvidenceReader
) -> str:
    from pytest_qwenvl.report.html_view import view_of

    template = _environment().get_template("page.html")
    style, script = _asset("page.css"), _asset("page.js")
    return template.render(
        run=run,
        view=view_of(run, reader),
        plots=plots,
        baseline=baseline,
        # Of what is judged; versions of what judges stand with the host's.
        engine_versions=[(name, its) for name, its in run.versions.items() if name in _ENGINE],
        item_picture=lambda scored, digest: reader.item_picture(digest, pictures_folder(scored)),
        style=style,
        script=script,
        policy=(
            f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ),
        words={key: list(words) for key, words in WORDS.items()},
        version=__version__,
        outcomes=[outcome.value for outcome in Outcome] + ["NOT_JUDGED"],
    )


def _plots(run: RunRecord, baseline: RunRecord | None) -> Plots:
    from pytest_qwenvl.report.html_accuracy import flips_of, partner_of, scores_plot
    from pytest_qwenvl.report.html_measured import loads_of, scores_of
    from pytest_qwenvl.report.html_soak import soaks_of
    from pytest_qwenvl.report.html_timeline import bars_of, timeline

    loads = loads_of(run)
    # Those that did not pass are what a person looks for.
    loads.sort(key=lambda load: load.outcome == "PASS")
    scores = scores_of(run)
    earlier = scores_of(baseline) if baseline is not None else []
    partners = [partner_of(its, earlier) for its in scores]
    bars = bars_of(run)
    return Plots(
        tuple(map(_shown_load, loads[:_MOST_LOADS])),
        max(0, len(loads) - _MOST_LOADS),
        scores_plot(scores, partners) if scores else None,
        tuple(zip(scores, partners, strict=True)),
        any(partner is not None for partner in partners),
        tuple(
            flips_of(its, partner, _MOST_FLIPS)
            for its, partner in zip(scores, partners, strict=True)
            if partner is not None and partner.items and its.items
        ),
        timeline(bars) if bars else None,
        tuple(soaks_of(run)),
    )


def _shown_load(load: Load) -> ShownLoad:
    from pytest_qwenvl.report.html_latency import distribution, over_time

    shown = [series for series in load.series if series.metric in ("ttft", "tpot")]
    gated = {budget.metric for budget in load.budgets}
    shown += [series for series in load.series if series.metric in gated and series not in shown]
    drawings = [distribution(load, series) for series in shown]
    timed = [series for series in shown if series.whole]
    if timed:
        of_gate = next((series for series in timed if series.metric in gated), timed[0])
        drawings.append(over_time(load, of_gate))
    limits = {budget.metric: budget.budget_ms for budget in load.budgets}
    over = sum(
        value > limits[series.metric]
        for series in load.series
        if series.metric in limits
        for value in series.values
    )
    percentiles = dict.fromkeys(p for series in load.series for p in series.percentiles)
    return ShownLoad(load, tuple(drawings), over, bool(timed), tuple(sorted(percentiles)[:8]))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from pytest_qwenvl.report.html_latency import NAMES
    from pytest_qwenvl.report.html_svg import number

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(t=_translated, label=_label, moment=moment)
    environment.filters.update(
        basename=lambda name: name.rpartition("/")[2],
        cut=clean,
        metric=lambda name: NAMES.get(name, name),
        number=number,
        seconds=_seconds,
        value=lambda value: value_text(value, 2000),
    )
    return environment


def _finalize(value: Any) -> Any:
    """What every expression of a template goes through before it is escaped."""
    from markupsafe import Markup

    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _translated(key: str, *arguments: object, tag: str = "span", kind: str = "") -> Markup:
    """One of the page's own texts, in English, marked for the language switch.

    In an element of its own, ``tag``, of the class ``kind``.
    """
    from markupsafe import Markup, escape

    told = [clean(str(argument), 400) for argument in arguments]
    held = f' data-a="{escape(SEPARATOR.join(told))}"' if told else ""
    of = f' class="{escape(kind)}"' if kind else ""
    text = escape(WORDS[key].en.format(*told))
    return Markup(f'<{tag}{of} data-t="{escape(key)}"{held}>{text}</{tag}>')


def _label(key: str) -> Markup:
    """An ``aria-label`` in English, marked for the language switch."""
    from markupsafe import Markup, escape

    return Markup(f'aria-label="{escape(WORDS[key].en)}" data-tl="{escape(key)}"')


def _seconds(value: float) -> str:
    """Seconds with the digits that matter."""
    if value != value or value in (float("inf"), float("-inf")):
        return "?"
    if value >= 120:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} min {rest} s"
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s" if value >= 0.1 else "< 0.1 s"


@cache
def _asset(name: str) -> Markup:
    from markupsafe import Markup

    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
