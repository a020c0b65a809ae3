"""The plots: what they show lies where the numbers say, and odd numbers spoil nothing."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

import pytest
from markupsafe import Markup

from pytest_qwenvl.report.html import render_page
from pytest_qwenvl.report.html_latency import distribution, over_time
from pytest_qwenvl.report.html_measured import loads_of, scores_of
from pytest_qwenvl.report.html_svg import Scale, number, scale_of, tag, x_axis
from pytest_qwenvl.report.html_timeline import bars_of
from pytest_qwenvl.report.results import EngineRecord, RunRecord
from pytest_qwenvl.report.verdict import judge_run
from tests.report.pages import Element, evaluation, full_run, load, page_of, read_page
from tests.report.records import MODEL, SERVE, result, run

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def drawn(svg: Markup) -> Element:
    return read_page(svg).one("svg")


def paths(svg: Element, kind: str) -> str:
    return "".join(it.attributes["d"] for it in svg.all("path", class_=kind))


def latency(**evidence: Any) -> RunRecord:
    values = {"workload": "text", **evidence}
    return run(results=[result("QVL-LAT-002", group="latency", evidence=values)])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (2000, "2,000"), (33.825, "33.8"), (1, "1"), (0.0123, "0.0123"), (1e9, "1e+09")],
)
def test_labels_have_three_digits(value, text):
    assert number(value) == text


def test_a_scale_is_logarithmic_only_where_values_are_far_apart():
    assert not scale_of([10, 40, 200], 0, 100).logarithmic
    wide = scale_of([10, 2000], 0, 100)
    assert wide.logarithmic
    assert 0 < wide(10) < wide(100) < wide(2000) < 100
    assert [t for t in wide.ticks() if t in (10, 100, 1000)] == [10, 100, 1000]
    assert scale_of([], 0, 100)(0.5) > 0
    assert scale_of([5.0, 5.0], 0, 100).ticks()
    assert Scale(0, 1, 0, 100)(7) == 100


@pytest.mark.parametrize("low", [1e-9, 1e-3, 1, 1e6])
@pytest.mark.parametrize("ratio", [1.0001, 3, 24, 26, 1e4, 1e12])
def test_there_are_ticks_for_any_range_and_not_too_many(low, ratio):
    ticks = scale_of([low, low * ratio], 0, 300).ticks()
    assert 2 <= len(ticks) <= 16
    assert ticks == sorted(set(ticks))


def test_labels_of_an_axis_do_not_run_into_each_other():
    axis = read_page(x_axis(scale_of([1, 1e12], 0, 300), 0, 100, " ms"))
    places = [(float(it.attributes["x"]), len(it.text)) for it in axis.all("text")]
    for (left, first), (right, second) in pairwise(places):
        assert right - left > 3 * (first + second)


def test_whatever_is_put_into_an_element_stays_text():
    assert (
        tag("text", "<b>", x=1.25, y=None, class_='"')
        == '<text x="1.2" class="&#34;">&lt;b&gt;</text>'
    )


def test_a_distribution_rises_from_nothing_to_everything_and_names_its_budget():
    (shown,) = loads_of(full_run())
    assert (shown.requests, len(shown.failed_at)) == (40, 1)
    (ttft,) = (it for it in shown.series if it.metric == "ttft")
    assert len(ttft.values) == 39, "a request that failed has no time"
    svg = drawn(distribution(shown, ttft))
    curve = paths(svg, "curve")
    heights = [float(it) for it in re.findall(r"V([\d.]+)", curve)]
    assert heights == sorted(heights, reverse=True)
    assert (heights[0] > 180, heights[-1]) == (True, 26.0)
    assert "p90 ≤ 45.5 ms" in svg.text
    # One request a millisecond, up to 48 ms.
    limit = float(re.search(r"M([\d.]+) ", paths(svg, "budget"))[1])
    steps = [float(it) for it in re.findall(r"H([\d.]+)", curve)]
    # Then 46 ms, 47 ms, 48 ms and the end of the axis.
    assert steps[-5] < limit < steps[-4]
    seen = svg.one("circle", class_="point")
    low, high = (float(it) for it in re.findall(r"[MH]([\d.]+)", paths(svg, "interval"))[1:3])
    assert low < float(seen.attributes["cx"]) < high


def test_over_time_marks_what_was_over_budget_and_what_failed():
    (shown,) = loads_of(full_run())
    (ttft,) = (it for it in shown.series if it.metric == "ttft")
    svg = drawn(over_time(shown, ttft))
    # 46, 47 and 48 ms are over 45.5 ms.
    assert paths(svg, "over").count("M") == 3
    assert paths(svg, "failed").count("M") == 1
    assert "1 failed" in svg.one("title").text


def test_a_thousand_requests_are_drawn_with_a_hundred_points():
    (shown,) = loads_of(latency(measurement=load(requests=5000)))
    (ttft,) = (it for it in shown.series if it.metric == "ttft")
    for svg in (distribution(shown, ttft), over_time(shown, ttft)):
        assert len(svg) < 8000


def test_percentiles_alone_are_drawn_as_such():
    percentiles = {"ttft": {"p50": 20.0, "p99": 60.0}, "tpot": {"p50": "NaN"}, "x": 3}
    record = latency(percentiles_ms=percentiles)
    (shown,) = loads_of(record)
    assert [it.metric for it in shown.series] == ["ttft"]
    assert len(NUMBER.findall(paths(drawn(distribution(shown, shown.series[0])), "curve"))) == 4
    assert "percentiles only" in page_of(record).one("section", id="latency").text


def test_a_baseline_s_times_are_drawn_beside_and_named():
    record = latency(measurement=load(), baseline_measurement=load(slow=2))
    (shown,) = loads_of(record)
    svg = drawn(distribution(shown, shown.series[0]))
    assert "baseline: dashed" in svg.text
    assert paths(svg, "earlier") != ""


def test_a_load_that_failed_comes_before_those_that_passed():
    passed = result("QVL-LAT-002", group="latency", evidence={"measurement": load()})
    failed = result("QVL-LAT-002", "FAIL", model="slow", group="latency", reason="slow")
    failed.evidence.update(measurement=load(slow=9))
    section = page_of(run(results=[passed, failed])).one("section", id="latency")
    assert "slow" in section.all("details")[0].one("summary").text


def test_scores_floors_and_baselines_lie_in_order():
    baseline = full_run()
    baseline.results[-1].evidence.update(measurement=evaluation(set()), score=1.0)
    section = page_of(full_run(), baseline=baseline).one("section", id="accuracy")
    svg = section.one("svg")
    floor = float(NUMBER.search(paths(svg, "budget"))[0])
    before = float(svg.one("circle", class_="hollow").attributes["cx"])
    (now,) = (it for it in svg.all("circle") if it.attributes["class"] == "point")
    assert floor < float(now.attributes["cx"]) < before
    assert "0.9000, 20 items" in section.all("table")[0].text


def test_a_floor_that_is_not_calibrated_is_named_and_dashed():
    record = full_run()
    record.results[-1].evidence["calibrated"] = False
    section = page_of(record).one("section", id="accuracy")
    assert "floor (not calibrated)" in section.text
    assert section.all("path", class_="soft")


def engine(**fields: Any) -> EngineRecord:
    values = {"model": MODEL, "deployment": SERVE, "kind": "serve", "argv": ("vllm",)}
    return EngineRecord(**{**values, "started": 1_700_000_010.0, **fields})


def test_an_engine_s_bar_lasts_until_its_last_requirement():
    record = run(
        engines=[
            engine(devices=(0, 1), ready=5.0, outcome="ready"),
            engine(started=1_700_000_060.0, ready=None, outcome="failed", devices=(1,)),
            engine(kind="bench", started=1_700_000_020.0, seconds=12.0),
        ],
        results=[
            result(started=1_700_000_020.0, duration=4.0),
            result(started=1_700_000_030.0, duration=15.0),
            result(started=1_700_000_061.0, duration=1.0),
        ],
    )
    bars = {
        (bar.device, bar.engine.kind, bar.start): (bar.ready, bar.end) for bar in bars_of(record)
    }
    assert bars == {
        (0, "serve", 10.0): (15.0, 45.0),
        (1, "serve", 10.0): (15.0, 45.0),
        (1, "serve", 60.0): (60.0, 62.0),
        (None, "bench", 20.0): (20.0, 32.0),
    }
    section = page_of(record).one("section", id="timeline")
    rows = [it.text for it in section.all("text") if it.text.startswith(("device", "no dev"))]
    assert rows == ["no device", "device 0", "device 1"]
    assert section.one("path", class_="over")


ODD = [None, "NaN", "Infinity", -1, 0, True, [], {}, "text", 1e308, 10**400, math.nan, math.inf]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_evidence_spoils_no_page(odd):
    kept = load()
    kept["requests"] = {name: [odd, *values[1:]] for name, values in kept["requests"].items()}
    items = evaluation({1})
    items["items"][0] = dict.fromkeys(items["items"][0], odd)
    items["items"][1] = odd
    budget = {"metric": "ttft", "percentile": odd, "budget_ms": odd, "observed_ms": odd}
    whole = {"metric": "ttft", "percentile": 90, "budget_ms": 5, "interval_ms": odd}
    measured: dict[str, Any] = {"measurement": kept, "budgets": [budget, whole, odd]}
    scored = {"task": "bank", "score": 0.5, "floor": odd, "interval": [odd, 1]}
    record = run(
        engines=[engine(ready=5.0)],
        results=[
            result("QVL-LAT-002", group="latency", evidence={**measured, "percentiles_ms": odd}),
            result("QVL-LAT-001", group="latency", evidence={"workload": odd, "requests": odd}),
            result("QVL-ACC-001", group="accuracy", evidence={**scored, "measurement": items}),
            result("QVL-ACC-002", group="accuracy", evidence={"task": odd, "measurement": odd}),
            result("QVL-ACC-003", group="accuracy", evidence={"task": "other", "score": odd}),
        ],
    )
    page = page_of(record, baseline=record)
    assert len(page.all("svg")) >= 4
    for path in page.all("path"):
        assert not re.search("nan|inf", path.attributes["d"])


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, -1.0, 1e300, 0.0], ids=repr)
def test_odd_times_spoil_no_page(odd):
    record = run(
        started=odd,
        finished=odd,
        engines=[engine(started=odd, ready=odd, seconds=odd), engine(ready=odd), engine()],
        results=[result(started=odd, duration=odd, setup=odd)],
    )
    assert "<h1>" in render_page(judge_run(record))
    later = run(
        engines=[engine(ready=odd)], results=[result(started=1_700_000_020.0, duration=odd)]
    )
    assert "nan" not in str(page_of(later).one("section", id="timeline").one("svg").attributes)


def test_evaluations_are_found_once_however_many_requirements_rest_on_them():
    kept = {"score": 0.9, "task": "bank", "measurement": evaluation({3, 4})}
    named = {"measurement": "evaluation bank", "floor": 0.8, "score": 0.9, "calibrated": True}
    record = run(
        results=[
            result("QVL-ACC-002", group="accuracy", evidence=kept),
            result("QVL-ACC-001", group="accuracy", evidence=named),
        ]
    )
    (scored,) = scores_of(record)
    assert (scored.floor, scored.n, len(scored.items)) == (0.8, 20, 20)
