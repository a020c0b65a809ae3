"""What changed from one report to another, and what of it can be compared at all (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_qwenvl.catalogue import COMPARING
from pytest_qwenvl.errors import MeasurementError, UsageProblem
from pytest_qwenvl.measure.judgement import Judgement
from pytest_qwenvl.report.judges import JUDGES, Case, judge_case
from pytest_qwenvl.report.measurements import Key, Measurements
from pytest_qwenvl.report.results import Outcome, RunRecord
from pytest_qwenvl.report.verdict import NOT_JUDGED, Claim, Judged, first_line, settle

_HOST_FACTS = ("cpu", "architecture", "platform", "kernel", "python")
# From best to worst; what is skipped says as little as what was never judged.
_RANKS = ("PASS", "WAIVED", "UNSUPPORTED", "SKIPPED", NOT_JUDGED, "INCONCLUSIVE", "INVALID",
          "ERROR", "FAIL")  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """A claim of both reports that came out differently."""

    claim: Claim
    before: str
    after: str
    reason: str

    @property
    def worse(self) -> bool:
        """Whether it came out worse than before."""
        return _RANKS.index(self.after) > _RANKS.index(self.before)


@dataclass(frozen=True)
class Compared:
    """One measurement that both reports keep, and what pairing them says."""

    key: Key
    judgement: Judgement

    @property
    def refused(self) -> bool:
        """Whether the two are not comparable; the judgement says why."""
        return self.judgement.outcome is Outcome.INVALID


@dataclass(frozen=True)
class Comparison:
    """Two reports side by side; ``before`` is the older, ``after`` the newer.

    Attributes:
        settings: fact -> (before, after), of those that differ: backend, versions, host.
        differences: claims of both that came out differently.
        gone, added: claims of the older and of the newer report alone.
        measured: measurements that both keep.
        unpaired: measurements of one report alone.
    """

    before: RunRecord
    after: RunRecord
    settings: Mapping[str, tuple[Any, Any]]
    differences: tuple[Difference, ...]
    gone: tuple[Claim, ...]
    added: tuple[Claim, ...]
    measured: tuple[Compared, ...]
    unpaired: tuple[Key, ...]

    @property
    def worse(self) -> bool:
        """Whether anything is proven worse than it was."""
        return any(it.worse for it in self.differences) or any(
            it.judgement.outcome is Outcome.FAIL for it in self.measured
        )

    @property
    def open(self) -> bool:
        """Whether anything of the older report could not be compared, or not decided."""
        return bool(
            self.gone
            or self.unpaired
            or any(it.judgement.outcome not in (Outcome.PASS, Outcome.FAIL) for it in self.measured)
        )


def compare(before: RunRecord, after: RunRecord) -> Comparison:
    """Hold the newer of two reports against the older.

    Raises:
        UsageProblem: they have nothing in common: no model, or no requirement of one.
    """
    old, new = _settled(before), _settled(after)
    both = [claim for claim in old if claim in new]
    if not both:
        raise UsageProblem(_nothing_in_common(before, after, old, new))
    measured, unpaired = _measured(before, after)
    return Comparison(
        before=before,
        after=after,
        settings=_settings(before, after),
        differences=tuple(
            Difference(claim, old[claim].outcome, new[claim].outcome, _reason(new[claim]))
            for claim in both
            if old[claim].outcome != new[claim].outcome
        ),
        gone=tuple(claim for claim in old if claim not in new),
        added=tuple(claim for claim in new if claim not in old),
        measured=measured,
        unpaired=unpaired,
    )


def _settled(run: RunRecord) -> dict[Claim, Judged]:
    claims = [Claim.parse(text) for text in run.planned]
    # Comparisons with a third run are no property of either of these.
    comparing = {it.id for it in run.requirements if it.judge in COMPARING}
    return {
        judged.claim: judged
        for judged in settle(run.results, claims, run.requirements)
        if judged.claim.requirement not in comparing
    }


def _nothing_in_common(
    before: RunRecord, after: RunRecord, old: Mapping[Claim, Judged], new: Mapping[Claim, Judged]
) -> str:
    def models(claims: Mapping[Claim, Judged]) -> str:
        return ", ".join(dict.fromkeys(claim.model for claim in claims if claim.model)) or "none"

    return (
        f"run {before.run_id} judged {len(old)} requirements of {models(old)}; run {after.run_id} "
        f"judged {len(new)} of {models(new)}; they have none in common, so nothing can be compared"
    )


def _reason(judged: Judged) -> str:
    return first_line(judged.result.reason) if judged.result else ""


def _settings(before: RunRecord, after: RunRecord) -> dict[str, tuple[Any, Any]]:
    def facts(run: RunRecord) -> dict[str, Any]:
        return {
            "suite": run.suite_version,
            "catalogue": run.catalogue_version,
            "backend": run.backend,
            "devices": run.npus,
            "endpoint": run.endpoint,
            "scope": run.scope,
            **dict(run.versions),
            **{name: run.host.get(name) for name in _HOST_FACTS},
        }

    old, new = facts(before), facts(after)
    names = dict.fromkeys([*old, *new])
    return {
        name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)
    }


def _measured(before: RunRecord, after: RunRecord) -> tuple[tuple[Compared, ...], tuple[Key, ...]]:
    old, new = Measurements(before), Measurements(after)
    compared = tuple(
        Compared(key, judgement)
        for key in old
        if key in new
        for judgement in _judgements(key, old, new, after)
    )
    return compared, tuple(key for key in [*old, *new] if (key in old) != (key in new))


def _judgements(
    key: Key,
    old: Measurements,
    new: Measurements,
    after: RunRecord,
) -> Iterator[Judgement]:
    for name in sorted(COMPARING & JUDGES.keys()):
        if JUDGES[name].kind != key.kind:
            continue
        try:
            profile = after.profiles.get(key.model, {})
            case = Case(new[key], key.deployment, profile, {}, old[key])
            yield judge_case(name, case)
        except MeasurementError as problem:
            yield Judgement(Outcome.INVALID, f"{key.text}: not compared: {problem}")
