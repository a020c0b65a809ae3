"""What a set of results amounts to: one verdict a model, and the run's, which is the worst (pure).

The rules err on one side only. Nothing is CONFORMANT that was not seen to pass: a requirement
that was claimed and never judged counts as much against the verdict as one that erred.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from pytest_qwenvl.report.results import (
    ModelVerdict,
    NotRun,
    Outcome,
    Requirement,
    Result,
    RunRecord,
    Verdict,
)

NOT_JUDGED = "NOT_JUDGED"
"""What a claim without any result is counted as, beside the values of ``Outcome``."""

HOST = "host"
"""Name under which results are shown that belong to no model (the host's own environment)."""

_LONGEST_REASON = 120
_WORST_FIRST = (
    Outcome.FAIL,
    Outcome.ERROR,
    Outcome.INVALID,
    Outcome.INCONCLUSIVE,
    Outcome.WAIVED,
    Outcome.SKIPPED,
    Outcome.UNSUPPORTED,
    Outcome.PASS,
)
_VERDICTS_WORST_FIRST = (Verdict.NON_CONFORMANT, Verdict.PARTIAL, Verdict.CONFORMANT)


class Claim(NamedTuple):
    """One requirement that a run sets out to judge for one deployment of one model.

    Its text, ``MODEL/DEPLOYMENT REQUIREMENT``, is what ``RunRecord.planned`` holds, so that a
    stored report can be judged again without running anything.
    """

    model: str
    deployment: str
    requirement: str

    def __str__(self) -> str:
        return f"{self.model}/{self.deployment} {self.requirement}"

    @classmethod
    def parse(cls, text: str) -> Claim:
        """The claim that ``str`` wrote; raises ValueError for any other text."""
        place, space, requirement = text.rpartition(" ")
        model, slash, deployment = place.partition("/")
        if not (space and slash and requirement):
            raise ValueError(f"{text!r} is not MODEL/DEPLOYMENT REQUIREMENT")
        return cls(model, deployment, requirement)


class Judged(NamedTuple):
    """A claim with what it came to; ``result`` is None when nothing ever judged it.

    Where several results share a claim (a requirement over several picture sizes), the worst
    one stands for it: a later success does not undo a failure.
    """

    claim: Claim
    group: str
    level: Literal["core", "extended"]
    result: Result | None

    @property
    def outcome(self) -> str:
        """The outcome's value, or ``NOT_JUDGED``."""
        return self.result.outcome.value if self.result else NOT_JUDGED


def place_of(model: str, deployment: str) -> str:
    """``MODEL/DEPLOYMENT`` as every message writes it; the host where there is no model."""
    if not model:
        return HOST
    return f"{model}/{deployment}" if deployment else model


def first_line(text: str) -> str:
    """The first line of ``text`` that says anything."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of ``verdicts``; PARTIAL for none, since nothing was shown."""
    seen = set(verdicts)
    return next((verdict for verdict in _VERDICTS_WORST_FIRST if verdict in seen), Verdict.PARTIAL)


def settle(
    results: Iterable[Result],
    claimed: Iterable[tuple[str, str, str]],
    requirements: Sequence[Requirement] = (),
) -> list[Judged]:
    """Every claim with its one outcome, in the order of the claims, then of the results.

    A claim whose requirement the catalogue does not know counts as core: not knowing must not
    make a verdict better.
    """
    catalogue = {requirement.id: requirement for requirement in requirements}
    by_claim: dict[Claim, Result | None] = {Claim(*claim): None for claim in claimed}
    for result in results:
        claim = Claim(result.model, result.deployment, result.requirement)
        other = by_claim.get(claim)
        if other is None or _rank(result) < _rank(other):
            by_claim[claim] = result
    judged = []
    for claim, its in by_claim.items():
        known = catalogue.get(claim.requirement)
        if its is not None:
            judged.append(Judged(claim, its.group, its.level, its))
        elif known is not None:
            judged.append(Judged(claim, known.group, known.level, None))
        else:
            judged.append(Judged(claim, "", "core", None))
    return judged


def judge(
    results: Sequence[Result],
    claimed: Iterable[tuple[str, str, str]],
    not_run: Sequence[NotRun],
    scope: str,
    backend: str,
    *,
    npus: int = 0,
    requirements: Sequence[Requirement] = (),
    unfinished: str = "",
    undecided: int | None = None,
) -> tuple[list[ModelVerdict], Verdict, str]:
    """Judge a run: the verdict over each model, the run's, and one sentence that says it.

    Args:
        results: everything that was judged.
        claimed: (model, deployment, requirement) of everything that should have been.
        not_run: what was left out. An entry that names a deployment belongs to a model that the
            run was asked for and makes it PARTIAL; one without a deployment (weights not at
            hand) is listed and not judged.
        scope: how the run was narrowed, e.g. ``-m serve``; empty for the whole suite.
        backend: ``cpu`` or ``npu``; with ``npus``, the device count the run could hold.
        requirements: the catalogue, which knows the level of claims that were never judged.
        unfinished: why the run ended early; a run that did is never CONFORMANT.
        undecided: on an attached server, how many requirements cannot be decided there; None
            for a run that started its own engines.
    """
    settled = settle(results, claimed, requirements)
    left_out = [entry for entry in not_run if entry.model and entry.deployment]
    names = dict.fromkeys(
        [judged.claim.model for judged in settled] + [entry.model for entry in left_out]
    )
    of_model: dict[str, list[Judged]] = {name: [] for name in names}
    for one in settled:
        of_model[one.claim.model].append(one)
    models = [
        _judge_model(
            name,
            of_model[name],
            [entry for entry in left_out if entry.model == name],
            unfinished,
        )
        for name in names
    ]
    verdict = worst(model.verdict for model in models)
    nothing = not any(model.model != HOST for model in models)
    if (nothing or unfinished) and verdict is Verdict.CONFORMANT:
        verdict = Verdict.PARTIAL
    where = _where(backend, npus)
    if undecided is not None:
        where = _attached(undecided)
        models = [_named_attached(model) for model in models]
    every = "every core requirement" + (" in its reach" if undecided else "")
    return models, verdict, _sentence(models, verdict, scope, where, every, unfinished)


def judge_run(record: RunRecord) -> RunRecord:
    """``record`` with its verdicts made anew from what it holds, as any reader can do.

    Raises:
        ValueError: ``planned`` holds text that is no claim.
    """
    unfinished = record.interrupted
    if not record.complete and not unfinished:
        unfinished = "the run had not finished when this report was written"
    models, verdict, sentence = judge(
        record.results,
        [Claim.parse(text) for text in record.planned],
        record.not_run,
        record.scope,
        record.backend,
        npus=record.npus,
        requirements=record.requirements,
        unfinished=unfinished,
        undecided=(
            len({entry.requirement for entry in record.undecided if entry.requirement})
            if record.endpoint
            else None
        ),
    )
    return record.model_copy(
        update={"model_verdicts": models, "verdict": verdict, "verdict_sentence": sentence}
    )


def _rank(result: Result) -> int:
    return _WORST_FIRST.index(result.outcome)


def _judge_model(
    model: str, settled: list[Judged], left_out: list[NotRun], unfinished: str
) -> ModelVerdict:
    counts = Counter(f"{judged.level}.{judged.outcome}" for judged in settled)
    core = [judged for judged in settled if judged.level == "core"]
    failed = [judged for judged in core if judged.outcome == Outcome.FAIL.value]
    unsettled = [judged for judged in core if judged.outcome not in ("PASS", "FAIL")]
    # What was judged and did not come out says more than what was never reached.
    unsettled.sort(key=lambda judged: judged.result is None)
    verdict = Verdict.PARTIAL
    if failed:
        verdict, reason = Verdict.NON_CONFORMANT, _describe(failed)
    elif unsettled:
        reason = _describe(unsettled)
    elif left_out:
        entry = left_out[0]
        reason = f"{place_of(entry.model, entry.deployment)} was not run: {entry.reason}"
    elif not core:
        reason = "no core requirement was judged"
    elif unfinished:
        reason = unfinished
    else:
        verdict, reason = Verdict.CONFORMANT, _passed(len(core))
    return ModelVerdict(
        model=model or HOST, verdict=verdict, reason=reason, counts=dict(sorted(counts.items()))
    )


def _passed(count: int) -> str:
    return "the one core result passed" if count == 1 else f"all {count} core results passed"


def _describe(judged: list[Judged]) -> str:
    """The first of ``judged`` with its reason, and how many more there are."""
    first = judged[0]
    claim = first.claim
    text = f"{claim.requirement} on {place_of(claim.model, claim.deployment)} "
    if first.result is None:
        text += "was never judged"
    else:
        why = first_line(first.result.reason)
        if len(why) > _LONGEST_REASON:
            why = why[: _LONGEST_REASON - 1] + "…"
        text += f"{first.outcome}" + (f": {why}" if why else "")
    more = len(judged) - 1
    return text + (f" (and {more} more)" if more else "")


def _where(backend: str, npus: int) -> str:
    if backend == "cpu":
        devices = f"{npus} virtual device{'' if npus == 1 else 's'}"
        return f", on the CPU backend with {devices}: no NPU was involved"
    return f", on {npus} {backend.upper()}{'' if npus == 1 else 's'}" if backend else ""


def _named_attached(model: ModelVerdict) -> ModelVerdict:
    # Read alone, one model's verdict must not pass for that of a run with its own engines either.
    if model.verdict is not Verdict.CONFORMANT:
        return model
    return model.model_copy(update={"reason": f"{model.reason}, on an attached server"})


def _attached(undecided: int) -> str:
    more = ""
    if undecided:
        are = "requirement is" if undecided == 1 else "requirements are"
        more = f", and {undecided} {are} left undecided"
    return f", on an attached server: what runs it was not seen{more}"


def _sentence(
    models: list[ModelVerdict],
    verdict: Verdict,
    scope: str,
    where: str,
    every: str,
    unfinished: str,
) -> str:
    scoped = f"{verdict.value} within `{scope}`" if scope else verdict.value
    named = [model for model in models if model.model != HOST]
    if verdict is Verdict.CONFORMANT:
        passed = sum(model.counts.get("core.PASS", 0) for model in models)
        names = ", ".join(model.model for model in named)
        return f"{scoped}: {names} passed {every} ({passed} results){where}."
    reason = next((model.reason for model in models if model.verdict is verdict), "")
    if not models:
        reason = "nothing was judged" + (f"; {unfinished}" if unfinished else "")
    elif not reason:
        reason = unfinished or "no requirement of any model was judged"
    elif unfinished and unfinished not in reason:
        reason = f"{unfinished}; {reason}"
    return f"{scoped}: {reason.rstrip('.')}{where}."
