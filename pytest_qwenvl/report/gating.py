"""Judge a stored report again, from what it keeps, without running anything.

Requirements that name a judge (statistics over a measurement) are decided anew from the kept
measurement and the profile's numbers in the report; what an assertion decided stands as it was
recorded, and an outcome that no measurement bears out is not believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_qwenvl.catalogue import COMPARING
from pytest_qwenvl.errors import MeasurementError, UsageProblem
from pytest_qwenvl.measure.judgement import Judgement
from pytest_qwenvl.report.judges import JUDGES, Case, judge_case
from pytest_qwenvl.report.measurements import BASELINE, Key, Measurements, key_of, read_measurement
from pytest_qwenvl.report.results import Outcome, Requirement, Result, RunRecord
from pytest_qwenvl.report.verdict import Claim, judge_run, place_of

# The test itself broke, or decided that there was nothing to judge.
_NOT_JUDGED = (Outcome.ERROR, Outcome.SKIPPED, Outcome.UNSUPPORTED)


@dataclass(frozen=True)
class Change:
    """A result that comes out otherwise than the report says; ``before`` None for one it lacks."""

    requirement: str
    model: str
    deployment: str
    before: Outcome | None
    after: Outcome
    reason: str

    def __str__(self) -> str:
        was = self.before.value if self.before else "not judged"
        place = place_of(self.model, self.deployment)
        text = (
            f"{self.requirement} on {place}: {was} in the report, {self.after.value} judged again"
        )
        return f"{text}: {self.reason}" if self.reason else text


@dataclass(frozen=True)
class Regated:
    """A report judged again.

    Attributes:
        run: with the outcomes and verdicts as they come out now.
        judged: how many results were decided from a measurement.
        changes: those that differ from the report, and those that the baseline adds.
    """

    run: RunRecord
    judged: int
    changes: tuple[Change, ...]


def judge_again(run: RunRecord, baseline: RunRecord | None = None) -> Regated:
    """Recompute every verdict of a report.

    Args:
        run: as read from its file.
        baseline: an earlier run; every measurement is then compared with that run's too, whether
            or not the run had a baseline itself.

    Raises:
        UsageProblem: the report's catalogue compares nothing with a baseline.
    """
    again = _Again(run, baseline)
    results = [again.result(result) for result in run.results]
    added = list(again.missing_comparisons()) if baseline is not None else []
    planned = dict.fromkeys(run.planned)
    for result in added:
        claim = Claim(result.model, result.deployment, result.requirement)
        planned[str(claim)] = None
        again.note(result, None)
    judged = judge_run(
        run.model_copy(update={"results": results + added, "planned": list(planned)})
    )
    return Regated(judged, again.judged + len(added), tuple(again.changes))


class _Again:
    def __init__(self, run: RunRecord, baseline: RunRecord | None) -> None:
        self.run = run
        self.requirements = {it.id: it for it in run.requirements}
        self.measurements = Measurements(run)
        self.earlier = Measurements(baseline) if baseline is not None else None
        self.judged = 0
        self.changes: list[Change] = []

    def result(self, result: Result) -> Result:
        """The result as it comes out now."""
        requirement = self.requirements.get(result.requirement)
        if requirement is None or not requirement.judge or result.outcome in _NOT_JUDGED:
            return result
        key = key_of(result)
        if key is None or key not in self.measurements:
            if result.outcome not in (Outcome.PASS, Outcome.WAIVED):
                # An engine that died left nothing to judge; that stays as bad as it was.
                return result
            lost = "the report keeps no measurement of it, so it cannot be judged again"
            judgement = Judgement(Outcome.INCONCLUSIVE, lost)
        else:
            judgement = self._judge(requirement, key, result.evidence)
            self.judged += 1
        outcome = judgement.outcome
        if result.outcome is Outcome.WAIVED and outcome is Outcome.FAIL:
            outcome = Outcome.WAIVED
        changed = result.model_copy(
            update={
                "outcome": outcome,
                "reason": "" if outcome is Outcome.PASS else judgement.sentence,
                "evidence": {
                    **result.evidence,
                    "judgement": judgement.sentence,
                    **judgement.evidence,
                },
            }
        )
        if outcome is not result.outcome:
            self.note(changed, result.outcome)
        return changed

    def note(self, result: Result, before: Outcome | None) -> None:
        """Note a result that the report has otherwise, or not at all."""
        if before is None and result.outcome is Outcome.PASS:
            return
        self.changes.append(
            Change(
                result.requirement,
                result.model,
                result.deployment,
                before,
                result.outcome,
                result.reason,
            )
        )

    def missing_comparisons(self) -> Iterator[Result]:
        """Results of what the baseline asks for and the run did not judge."""
        wanted = [it for it in self.requirements.values() if it.judge in COMPARING & JUDGES.keys()]
        if not wanted:
            raise UsageProblem(
                f"--baseline: the report of run {self.run.run_id} has catalogue "
                f"{self.run.catalogue_version or 'of no version'}, which compares nothing with a "
                "baseline; make a report with this version of the suite"
            )
        assert self.earlier is not None
        models = {result.model for result in self.run.results}
        mine = {key.alike for key in self.measurements}
        theirs = [key for key in self.earlier if key.model in models and key not in mine]
        for requirement in wanted:
            known = {key_of(it) for it in self.run.results if it.requirement == requirement.id}
            for key in [*self.measurements, *theirs]:
                if key not in known and key.kind == JUDGES[requirement.judge].kind:
                    yield self._comparison(requirement, key)

    def _comparison(self, requirement: Requirement, key: Key) -> Result:
        if key in self.measurements:
            judgement = self._judge(requirement, key, {})
        else:
            judgement = Judgement(
                Outcome.INCONCLUSIVE,
                f"the baseline has {key}; this run has none to compare with it",
            )
        return Result(
            requirement=requirement.id,
            group=requirement.group,
            level=requirement.level,
            test="",
            model=key.model,
            deployment=key.deployment,
            outcome=judgement.outcome,
            reason="" if judgement.outcome is Outcome.PASS else judgement.sentence,
            evidence={
                "measurement": key.text,
                "judgement": judgement.sentence,
                **judgement.evidence,
            },
        )

    def _judge(self, requirement: Requirement, key: Key, evidence: dict[str, Any]) -> Judgement:
        try:
            earlier = None
            if requirement.judge in COMPARING:
                earlier = self._earlier(key, evidence)
                if earlier is None:
                    return Judgement(
                        Outcome.INCONCLUSIVE, f"the baseline has no {key}: nothing to compare with"
                    )
            profile = self.run.profiles.get(key.model, {})
            measurement = self.measurements[key]
            case = Case(measurement, key.deployment, profile, evidence, earlier)
            return judge_case(requirement.judge, case)
        except MeasurementError as problem:
            return Judgement(Outcome.INVALID, f"cannot be judged again: {problem}")

    def _earlier(self, key: Key, evidence: dict[str, Any]) -> Any:
        """What to compare with: of the baseline that was given, else of the run's own."""
        if self.earlier is not None:
            return self.earlier.get(key.alike)
        kept = evidence.get(BASELINE)
        return read_measurement(kept) if isinstance(kept, dict) else None
