"""What the page says, before it is a page: models, matrix, what did not pass, everything (pure).

Made of a judged record alone, through the same ``settle`` that the verdict rests on, so that the
page can count nothing that the verdict did not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pytest_qwenvl.report.html_evidence import EvidenceReader, ShownResult
from pytest_qwenvl.report.html_text import clean
from pytest_qwenvl.report.results import (
    ModelVerdict,
    NotRun,
    Requirement,
    Result,
    RunRecord,
    Undecided,
)
from pytest_qwenvl.report.table import GROUPS, TROUBLE_WORST_FIRST
from pytest_qwenvl.report.verdict import HOST, Claim, Judged, place_of, settle

_ASIDE = ("SKIPPED", "UNSUPPORTED")
_MOST_NAMED = 200
_LONGEST_NAME = 200
_LONGEST_BRIEF = 300
_LONGEST_MUST = 600


class ClaimView(NamedTuple):
    """One requirement for one deployment, with all that was found of it.

    Attributes:
        anchor: its id on the page; unique.
        results: every result of it, worst first; empty for what was never judged.
        aside: whether it is shown with what did not pass, and only named in its deployment.
    """

    anchor: str
    requirement: str
    level: str
    outcome: str
    place: str
    must: str
    brief: str
    took: float
    results: tuple[ShownResult, ...]
    aside: bool


class Problem(NamedTuple):
    """A requirement and outcome other than PASS, with every place where it came to that."""

    requirement: str
    outcome: str
    level: str
    known: Requirement | None
    claims: tuple[ClaimView, ...]


class CellView(NamedTuple):
    """One group of one deployment."""

    anchor: str
    passed: int
    claimed: int
    trouble: str
    counts: tuple[tuple[str, int], ...]


class GroupView(NamedTuple):
    """The requirements of one group for one deployment."""

    name: str
    cell: CellView
    claims: tuple[ClaimView, ...]


class PlaceView(NamedTuple):
    """A deployment, or the host itself."""

    anchor: str
    place: str
    deployment: str
    groups: tuple[GroupView, ...]
    total: CellView

    def cell(self, group: str) -> CellView | None:
        """The cell of ``group``; None where nothing of it was claimed."""
        return next((its.cell for its in self.groups if its.name == group), None)


class ModelView(NamedTuple):
    """A model, or the host itself, with its verdict and its deployments."""

    name: str
    verdict: ModelVerdict | None
    places: tuple[PlaceView, ...]


class Listed(NamedTuple):
    """A reason and what it holds for."""

    reason: str
    names: tuple[str, ...]
    more: int


class PageView(NamedTuple):
    """The whole page but for its plots."""

    columns: tuple[str, ...]
    models: tuple[ModelView, ...]
    problems: tuple[Problem, ...]
    aside: tuple[Problem, ...]
    not_run: tuple[Listed, ...]
    undecided: tuple[Listed, ...]


def view_of(run: RunRecord, reader: EvidenceReader) -> PageView:
    """What the page of ``run``, a judged record, says; ``reader`` shows its results."""
    settled = settle(run.results, [Claim.parse(text) for text in run.planned], run.requirements)
    claims = _claims(settled, run, reader)
    known = {requirement.id: requirement for requirement in run.requirements}
    problems = _problems(zip(settled, claims, strict=True), known)
    return PageView(
        columns=tuple(_columns(settled)),
        models=_models(run, settled, claims),
        problems=tuple(it for it in problems if it.outcome not in _ASIDE),
        aside=tuple(it for it in problems if it.outcome in _ASIDE),
        not_run=_listed(run.not_run),
        undecided=_listed(run.undecided),
    )


def _claims(settled: list[Judged], run: RunRecord, reader: EvidenceReader) -> list[ClaimView]:
    by_claim: dict[Claim, list[Result]] = {}
    for result in run.results:
        claim = Claim(result.model, result.deployment, result.requirement)
        by_claim.setdefault(claim, []).append(result)
    musts = {requirement.id: requirement.must for requirement in run.requirements}
    views = []
    for number, judged in enumerate(settled):
        its = by_claim.get(judged.claim, [])
        its.sort(key=lambda result: result is not judged.result)
        views.append(
            ClaimView(
                anchor=f"c{number}",
                requirement=clean(judged.claim.requirement, _LONGEST_NAME),
                level=judged.level,
                outcome=judged.outcome,
                place=clean(place_of(*judged.claim[:2]), _LONGEST_NAME),
                must=clean(musts.get(judged.claim.requirement, ""), _LONGEST_MUST),
                brief=_brief(judged.result),
                took=sum(result.duration for result in its),
                results=tuple(map(reader.show, its)),
                aside=judged.outcome != "PASS",
            )
        )
    return views


def _brief(result: Result | None) -> str:
    """The line that says most: a first one that only announces the next has it beside it."""
    if result is None:
        return ""
    told = (line.strip() for line in (result.waiver or result.reason).split("\n", 20))
    lines = [line for line in told if line][:2]
    text = " ".join(lines) if lines and lines[0].endswith(":") else "".join(lines[:1])
    return clean(text, _LONGEST_BRIEF)


def _problems(
    pairs: Iterable[tuple[Judged, ClaimView]], known: dict[str, Requirement]
) -> list[Problem]:
    found: dict[tuple[str, str], list[ClaimView]] = {}
    for judged, view in pairs:
        if judged.outcome != "PASS":
            found.setdefault((view.requirement, view.outcome), []).append(view)
    problems = [
        Problem(requirement, outcome, its[0].level, known.get(requirement), tuple(its))
        for (requirement, outcome), its in found.items()
    ]
    order = [*TROUBLE_WORST_FIRST, "UNSUPPORTED"].index
    return sorted(problems, key=lambda it: (it.level != "core", order(it.outcome)))


def _columns(settled: list[Judged]) -> list[str]:
    seen = dict.fromkeys(judged.group or "other" for judged in settled)
    return [group for group in GROUPS if group in seen] + [it for it in seen if it not in GROUPS]


def _models(
    run: RunRecord, settled: list[Judged], claims: list[ClaimView]
) -> tuple[ModelView, ...]:
    columns = _columns(settled)
    groups: dict[str, dict[str, dict[str, list[ClaimView]]]] = {}
    for judged, view in zip(settled, claims, strict=True):
        its = groups.setdefault(judged.claim.model or HOST, {})
        its.setdefault(judged.claim.deployment, {}).setdefault(judged.group or "other", []).append(
            view
        )
    verdicts = {verdict.model: verdict for verdict in run.model_verdicts}
    number = 0
    models = []
    for name in dict.fromkeys([*groups, *verdicts]):
        places = []
        for deployment, by_group in groups.get(name, {}).items():
            anchor = f"d{number}"
            number += 1
            ordered = sorted(by_group.items(), key=lambda pair: columns.index(pair[0]))
            places.append(
                PlaceView(
                    anchor,
                    name if name == HOST else f"{name}/{deployment}",
                    deployment,
                    tuple(
                        GroupView(group, _cell(f"{anchor}-{columns.index(group)}", its), tuple(its))
                        for group, its in ordered
                    ),
                    _cell(anchor, [view for its in by_group.values() for view in its]),
                )
            )
        models.append(ModelView(name, verdicts.get(name), tuple(places)))
    return tuple(models)


def _cell(anchor: str, claims: Sequence[ClaimView]) -> CellView:
    counts = Counter(view.outcome for view in claims)
    trouble = next((outcome for outcome in TROUBLE_WORST_FIRST if counts[outcome]), "")
    claimed = len(claims) - counts["UNSUPPORTED"]
    return CellView(anchor, counts["PASS"], claimed, trouble, tuple(counts.most_common()))


def _listed(entries: Sequence[NotRun | Undecided]) -> tuple[Listed, ...]:
    by_reason: dict[str, list[str]] = {}
    for entry in entries:
        name = place_of(entry.model, entry.deployment)
        if isinstance(entry, Undecided) and entry.requirement:
            name = entry.requirement
        by_reason.setdefault(entry.reason, []).append(name)
    return tuple(
        Listed(reason, tuple(names[:_MOST_NAMED]), max(0, len(names) - _MOST_NAMED))
        for reason, names in by_reason.items()
    )
