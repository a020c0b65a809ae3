"""Loads of the real CPU engine, recorded on two cores with 7 to 12 runnable tasks for each.

Eight of the same server, minutes apart, and two through a proxy that held one stream in twenty back
for a second; 200 requests with one picture each, at 5 a second.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter

import pytest

from pytest_qwenvl.measure.bench_result import LoadResult
from pytest_qwenvl.measure.latency_baseline import judge_against_baseline
from pytest_qwenvl.measure.load_evidence import load_from
from pytest_qwenvl.measure.validity import check_validity
from pytest_qwenvl.profile_latency import LatencyMargin
from pytest_qwenvl.report.results import Outcome
from tests.measure.loads import SAMPLES, workload

SHAPE = workload(
    name="image", num_prompts=200, request_rate=5.0, output_tokens=16, images_per_request=1,
    maximum_drift=1.0, margin=LatencyMargin(value=0.05, source="as in benchmarks/latency.py"),
)  # fmt: skip


def recorded(kind: str) -> list[LoadResult]:
    files = sorted((SAMPLES / "busy-host").glob(f"{kind}-*.json"))
    return [load_from(json.loads(file.read_text())) for file in files]


@pytest.fixture(scope="module")
def same() -> list[LoadResult]:
    return recorded("same")


def test_the_same_server_is_never_called_slower(same: list[LoadResult]) -> None:
    medians = [sorted(row.ttft for row in load.rows)[100] for load in same]
    # What makes this hard: between two loads of one server the median more than doubles.
    assert max(medians) > 2 * min(medians)
    outcomes = Counter(
        judge_against_baseline(new, old, SHAPE).outcome
        for new, old in itertools.permutations(same, 2)
    )
    assert sum(outcomes.values()) == 56
    assert outcomes[Outcome.FAIL] == 0


def test_stalls_are_found_where_the_hosts_were_alike(same: list[LoadResult]) -> None:
    valid = [load for load in same if not check_validity(load, SHAPE, "ttft")]
    assert len(valid) == 7
    for stalling in recorded("stalls"):
        judged = [judge_against_baseline(stalling, old, SHAPE) for old in valid]
        found = [it for it in judged if it.outcome is Outcome.FAIL]
        assert len(found) >= 3
        for judgement in found:
            assert judgement.evidence["slower"] == ["how often requests were held up"]
        rest = {it.outcome for it in judged if it not in found}
        assert rest == {Outcome.INCONCLUSIVE}
