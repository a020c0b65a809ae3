"""The page shows each soak: a plot a quantity, where judging began, and what it came to."""

from __future__ import annotations

import pytest

from pytest_qwenvl.measure.soak_record import as_evidence
from pytest_qwenvl.report.gating import judge_again
from pytest_qwenvl.report.html import render_page
from pytest_qwenvl.report.html_soak import soaks_of
from tests.soak.records import CLEAN, rising, soak
from tests.soak.test_record import report


def test_a_plot_for_each_series() -> None:
    run = judge_again(report(soak(rising("memory", 300)), "PASS")).run
    (shown,) = soaks_of(run)
    leaking = soak(rising("memory", 300))
    assert len(shown.drawings) == len(leaking.watched)
    assert "memory of API server over 60 min: 720 samples" in shown.drawings[0]
    assert 'class="budget soft"' in shown.drawings[0], "where judging begins"
    assert shown.results[0][:2] == ("QVL-SOK-002", "FAIL")
    page = render_page(run)
    assert 'id="soak"' in page and 'href="#soak"' in page
    assert page.count("memory of API server over 60 min") == 1


def test_no_soak_no_section() -> None:
    run = report(CLEAN, "PASS")
    page = render_page(run.model_copy(update={"results": []}))
    assert 'id="soak"' not in page


def test_a_spoilt_soak_leaves_a_page() -> None:
    run = report(CLEAN, "PASS")
    kept = {**as_evidence(CLEAN), "duration": "long"}
    result = run.results[0].model_copy(update={"evidence": {"measurement": kept}})
    assert 'id="soak"' not in render_page(run.model_copy(update={"results": [result]}))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a&b"])
def test_names_are_untrusted(name: str) -> None:
    page = render_page(report(soak(rising("memory", 300, name)), "PASS"))
    assert name not in page
