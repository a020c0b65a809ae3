"""Loads against budgets: vLLM's own bench measures, the profile says what is enough."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.measure.bench_result import LoadResult
from pytest_qwenvl.measure.latency import (
    check_validity,
    judge_latency,
    summary_ms,
    unanswered,
)
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile import LatencyWorkload
from pytest_qwenvl.report.results import Outcome

pytestmark = pytest.mark.latency


@pytest.fixture(scope="session")
def loads() -> dict[tuple[str, str], LoadResult]:
    """Loads that were made already: one load decides two requirements."""
    return {}


@pytest.fixture
def load(
    bench: Callable[[LatencyWorkload], LoadResult],
    deployment: PlannedDeployment,
    latency_workload: LatencyWorkload,
    loads: dict[tuple[str, str], LoadResult],
) -> Callable[[], LoadResult]:
    """Make the workload's load, once."""

    def make() -> LoadResult:
        key = (deployment.id, latency_workload.name)
        if key not in loads:
            loads[key] = bench(latency_workload)
        return loads[key]

    return make


@pytest.mark.requirement("QVL-LAT-001")
def test_load_is_completed(
    load: Callable[[], LoadResult], latency_workload: LatencyWorkload, evidence: Evidence
) -> None:
    """Every request is answered in full, at the declared rate."""
    result = load()
    evidence.record(
        workload=latency_workload.name,
        completed=result.completed,
        failed=result.failed,
        asked=latency_workload.num_prompts,
    )
    wrong = unanswered(result, latency_workload)
    assert not wrong, f"load {latency_workload.name!r}: " + "; ".join(wrong)
    # What is left is the client's: the load was not the declared one, so it proves nothing.
    invalid = check_validity(result, latency_workload)
    sentence = f"load {latency_workload.name!r}: " + ("; ".join(invalid) or "complete")
    evidence.judge(Outcome.INVALID if invalid else Outcome.PASS, sentence)


@pytest.mark.needs("hardware")
@pytest.mark.requirement("QVL-LAT-002")
def test_budgets(
    load: Callable[[], LoadResult],
    latency_workload: LatencyWorkload,
    deployment: PlannedDeployment,
    engine_session: EngineSession,
    evidence: Evidence,
) -> None:
    """Latency stays within every budget declared for this hardware."""
    hardware = engine_session.plan.inventory.hardware
    result = load()
    evidence.record(
        workload=latency_workload.name, hardware=hardware, percentiles_ms=summary_ms(result)
    )
    gated = 0
    for budget in latency_workload.budgets:
        if (budget.hardware, budget.npus) != (hardware, deployment.deployment.npus):
            continue
        judgement = judge_latency(result, latency_workload, budget)
        evidence.append("budgets", {"judgement": judgement.sentence, **judgement.evidence})
        if judgement.outcome is not Outcome.SKIPPED:
            gated += 1
            evidence.judge(judgement.outcome, judgement.sentence)
    if not gated:
        pytest.skip(
            f"nobody vouches for a budget of {latency_workload.name!r} on {hardware} with "
            f"{deployment.deployment.npus} devices; what was measured is in the evidence"
        )
