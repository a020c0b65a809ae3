"""Which results of an earlier run still hold, and why the others do not (pure)."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pytest_qwenvl.catalogue import COMPARING
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.measurements import MEASUREMENT, Key, key_of
from pytest_qwenvl.report.results import CarriedOver, ContinuedRun, Outcome, Requirement, Result
from pytest_qwenvl.report.verdict import HOST
from pytest_qwenvl.resume_inputs import DIGEST, RunInputs
from pytest_qwenvl.resume_record import EarlierRun
from pytest_qwenvl.waivers import Waiver, waive

KEPT = frozenset({Outcome.PASS, Outcome.WAIVED, Outcome.SKIPPED, Outcome.UNSUPPORTED})
"""What is kept where its inputs are equal; every other outcome runs again, whatever they are."""

_LONGEST_SHOWN = 40
_MOST_NAMED = 6
_OF_HOST = "environment"


class Continuation(NamedTuple):
    """What a run goes on with.

    Attributes:
        kept: results of earlier runs, marked as carried over.
        continued: the earlier runs, the last one last.
        continues: runs whose results are this one's too, by deployment.
        notes: what was wrong with the record.
    """

    kept: tuple[Result, ...]
    continued: tuple[ContinuedRun, ...]
    continues: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """What a person is told before anything starts, a line a deployment."""
        last = self.continued[-1]
        total = sum(last.outcomes.values())
        told = [f"resumes run {last.run_id}: {len(self.kept)} of {total} results are carried over"]
        told += [f"{place} {reason}" for place, reason in last.again.items()]
        return [*told, *self.notes]


def continue_run(
    earlier: EarlierRun,
    inputs: RunInputs,
    requirements: Iterable[Requirement],
    waivers: Sequence[Waiver],
    today: datetime.date,
) -> Continuation:
    """Decide what of an earlier run is kept.

    A result is kept when it passed, was waived (and still is), skipped or unsupported, and
    everything it rests on is unchanged. Results judged from one measurement are kept together or
    made again together, so that no verdict mixes two. A test skipped by its set-up runs again:
    what it lacked, devices for example, may be there now.

    Raises:
        UsageProblem: the earlier run was asked for something else.
    """
    header = earlier.header
    if header.inputs.selection != inputs.selection:
        raise UsageProblem(
            f"--resume: run {header.run_id} was asked for {header.inputs.selection or 'everything'}"
            f", this one for {inputs.selection or 'everything'}: what the other selects would be "
            "lost. Continue it with the same selection, or give this run a "
            "--conformance-report of its own"
        )
    holding = _Holding(earlier, inputs, requirements, waivers, today)
    number = len(header.continued) + 1
    mark = CarriedOver(run_id=header.run_id, attempt=number)
    kept = tuple(
        result.model_copy(update={"carried_over": result.carried_over or mark})
        for result in holding.kept()
    )
    attempt = ContinuedRun(
        run_id=header.run_id,
        number=number,
        started=header.started,
        argv=header.argv,
        outcomes=dict(Counter(result.outcome.value for result in earlier.results)),
        kept=len(kept),
        again=holding.reasons(kept),
    )
    unchanged = {
        place: (*header.continues.get(place, ()), header.run_id)
        for place, now in inputs.places.items()
        if header.inputs.places.get(place) == now
    }
    return Continuation(kept, (*header.continued, attempt), unchanged, earlier.notes)


def changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs between two sets of inputs, a few words each."""
    told = []
    for name in dict.fromkeys([*now, *before]):
        was, its = before.get(name, ""), now.get(name, "")
        if was == its:
            continue
        shown = [value or "none" for value in (was, its)]
        if any(it.startswith(DIGEST) or len(it) > _LONGEST_SHOWN for it in shown):
            told.append(f"{name} changed")
        else:
            told.append(f"{name} {shown[0]} -> {shown[1]}")
    return told


def input_place(result: Result) -> str:
    """The deployment whose inputs a result rests on; the host's for one of no deployment."""
    return f"{result.model}/{result.deployment}" if result.model else HOST


class _Holding:
    """The results of an earlier run, held against the inputs of this one."""

    def __init__(
        self,
        earlier: EarlierRun,
        inputs: RunInputs,
        requirements: Iterable[Requirement],
        waivers: Sequence[Waiver],
        today: datetime.date,
    ) -> None:
        self._earlier = earlier
        self._before, self._now = earlier.header.inputs, inputs
        self._requirements = {it.id: it for it in requirements}
        self._waivers, self._today = waivers, today

    def kept(self) -> list[Result]:
        """Those that hold, in their order."""
        waived = {id(it): self._waived_now(it) for it in self._earlier.results}
        broken = {it.test for it in self._earlier.results if waived[id(it)] is None}
        again = broken | {it.test for it in self._earlier.results if self.why_again(it)}
        again |= self._earlier.damaged
        # A measurement whose judgement did not come out is made anew, and judged anew as a whole.
        keys = {key_of(it) for it in self._earlier.results if it.test in broken}
        keys |= self._unkept_measurements(again)
        again |= {it.test for it in self._earlier.results if (key := key_of(it)) and key in keys}
        return [
            its
            for it in self._earlier.results
            if it.test not in again and (its := waived[id(it)]) is not None
        ]

    def reasons(self, kept: Iterable[Result]) -> dict[str, str]:
        """Why a place runs again, in whole or in part, by the place."""
        tests = {it.test for it in kept}
        found: dict[str, str] = {}
        for place, results in self._by_place().items():
            left = [it for it in results if it.test not in tests]
            if not left:
                continue
            if place not in self._now.places:
                found[place] = "is no deployment of this run: its results are left behind"
            elif changed := self._changes(place):
                found[place] = f"runs again: {', '.join(changed)}"
            else:
                found[place] = f"runs again in part: {self._named(left)}"
        return found

    def why_again(self, result: Result) -> str:
        """What a result rests on, of its own, that is no longer as it was; empty for nothing."""
        place = input_place(result)
        if place not in self._now.places:
            return "no such deployment"
        if changed := self._changes(place):
            return ", ".join(changed)
        file = result.test.partition("::")[0]
        requirement = self._requirements.get(result.requirement)
        own = [
            ("its requirement", self._before.requirements, self._now.requirements,
             result.requirement),
            ("its test", self._before.tests, self._now.tests, file),
        ]  # fmt: skip
        for what, before, now, key in own:
            if key not in now or before.get(key) != now[key]:
                return f"{what} changed"
        if result.group == _OF_HOST and self._before.host != self._now.host:
            return f"host {self._before.host} -> {self._now.host}"
        comparing = requirement is not None and requirement.judge in COMPARING
        if comparing and self._before.baseline != self._now.baseline:
            return "the baseline changed"
        return ""

    def _waived_now(self, result: Result) -> Result | None:
        """A result whose outcome can be kept, its waiver renewed; None for another."""
        if result.outcome not in KEPT:
            return None
        if result.outcome is Outcome.SKIPPED and not result.duration:
            return None
        if result.outcome is not Outcome.WAIVED:
            return result
        failed = result.model_copy(update={"outcome": Outcome.FAIL, "waiver": ""})
        renewed = waive(failed, self._waivers, self._today)
        return renewed if renewed.outcome is Outcome.WAIVED else None

    def _unkept_measurements(self, again: set[str]) -> set[Key | None]:
        """Those whose values lie with a result that runs again."""
        found: set[Key | None] = set()
        holders = {
            key_of(it)
            for it in self._earlier.results
            if it.test not in again and isinstance(it.evidence.get(MEASUREMENT), dict)
        }
        for result in self._earlier.results:
            key = key_of(result)
            if key is not None and key not in holders:
                found.add(key)
        return found

    def _by_place(self) -> dict[str, list[Result]]:
        found: dict[str, list[Result]] = {}
        for result in self._earlier.results:
            found.setdefault(input_place(result), []).append(result)
        return found

    def _changes(self, place: str) -> list[str]:
        return changes(self._before.places.get(place, {}), self._now.places[place])

    def _named(self, results: Sequence[Result]) -> str:
        """Requirements that run again, each with its outcome or with what changed."""
        told = dict.fromkeys(f"{it.requirement} ({self._why(it)})" for it in results)
        more = len(told) - _MOST_NAMED
        return ", ".join(list(told)[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")

    def _why(self, result: Result) -> str:
        if reason := self.why_again(result):
            return reason
        if self._waived_now(result) is None:
            return result.outcome.value
        if result.test in self._earlier.damaged:
            return "its record is damaged"
        return "judged together with one that runs again"
