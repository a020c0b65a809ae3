"""Loads against budgets and an earlier run: vLLM's own bench measures, the profile judges."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_qwenvl.errors import InconclusiveError, MeasurementError
from pytest_qwenvl.measure.bench_result import LoadResult
from pytest_qwenvl.measure.load_evidence import KIND, as_evidence
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile_latency import LatencyWorkload
from pytest_qwenvl.report.judges import Case, judge_case
from pytest_qwenvl.report.measurements import BASELINE, MEASUREMENT, Key, Measurements
from pytest_qwenvl.report.results import Outcome

pytestmark = pytest.mark.latency

Loads = dict[tuple[str, str], LoadResult | MeasurementError]


@pytest.fixture(scope="session")
def loads() -> Loads:
    """Loads that were made already, or failed: one decides several requirements."""
    return {}


@pytest.fixture
def judge(
    bench: Callable[[LatencyWorkload], LoadResult],
    deployment: PlannedDeployment,
    latency_workload: LatencyWorkload,
    loads: Loads,
    carried_measurements: Measurements,
    evidence: Evidence,
) -> Callable[..., None]:
    """Make the load once, keep every request, and judge it as ``gate`` will judge the report."""

    def decide(name: str, earlier: LoadResult | None = None) -> None:
        key = (deployment.id, latency_workload.name)
        known = loads.get(key)
        text = f"{KIND} {latency_workload.name}"
        kept = Key(deployment.profile.name, deployment.deployment.name, text)
        if known is None and kept in carried_measurements:
            known = loads[key] = carried_measurements[kept]
        evidence.record(workload=latency_workload.name)
        if known is None:
            try:
                known = bench(latency_workload)
                evidence.record(**{MEASUREMENT: as_evidence(known)})
            except MeasurementError as problem:
                known = problem
            loads[key] = known
        else:
            evidence.record(**{MEASUREMENT: text})
        if isinstance(known, MeasurementError):
            raise known
        profile = deployment.profile.model_dump(mode="json")
        case = Case(known, deployment.deployment.name, profile, evidence.values, earlier)
        judgement = judge_case(name, case)
        if judgement.outcome is Outcome.SKIPPED:
            evidence.record(**judgement.evidence)
            pytest.skip(judgement.sentence)
        evidence.judge(judgement.outcome, judgement.sentence, **judgement.evidence)

    return decide


@pytest.mark.requirement("QVL-LAT-001")
def test_load_is_completed(judge: Callable[..., None]) -> None:
    """Every request is answered in full, at the declared rate."""
    judge("load")


@pytest.mark.needs("hardware")
@pytest.mark.requirement("QVL-LAT-002")
def test_budgets(judge: Callable[..., None]) -> None:
    """Latency stays within every budget declared for this hardware."""
    judge("budgets")


@pytest.mark.requirement("QVL-LAT-003")
def test_no_slower_than_baseline(
    judge: Callable[..., None],
    baseline: Measurements | None,
    latency_workload: LatencyWorkload,
    deployment: PlannedDeployment,
    evidence: Evidence,
) -> None:
    """No slower than in the run of ``--baseline``."""
    assert baseline is not None, "without --baseline this requirement is not claimed"
    key = Key(
        deployment.profile.name, deployment.deployment.name, f"{KIND} {latency_workload.name}"
    )
    if key not in baseline:
        raise InconclusiveError(f"the baseline has no {key}: nothing to compare with")
    earlier = baseline[key]
    evidence.record(**{BASELINE: as_evidence(earlier)})
    judge("latency-baseline", earlier)
