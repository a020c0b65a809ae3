"""What an LLM does on its own: measured by vLLM's own programs, and reported."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_qwenvl.measure.offline_bench import OfflineFigures
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.profile_latency import OfflineBench

pytestmark = pytest.mark.latency


@pytest.mark.requirement("QVL-LAT-004")
def test_offline_bench(
    measure_offline: Callable[[OfflineBench], OfflineFigures],
    offline_bench: OfflineBench,
    evidence: Evidence,
) -> None:
    """The program comes to its end and says how fast it was; no figure of it is gated."""
    evidence.record(program=offline_bench.program, source=offline_bench.source)
    evidence.record(**measure_offline(offline_bench).as_evidence())
