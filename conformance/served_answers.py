"""What each served deployment of a run answered, kept so that others can be compared with it."""

from __future__ import annotations

from collections.abc import Sequence

from conformance import kept_answers
from conformance.asking import chat, text_of
from conformance.offline_answers import MAX_TOKENS, SAMPLING, parity_questions
from fixtures.bank import Item
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

_FILE = "served-answers.json"


def ask_served(server: Endpoint, planned: PlannedDeployment) -> list[str]:
    """The answers to the parity questions, put one by one, so that no batch comes into it."""
    return [
        text_of(chat(server, item.openai_messages(), max_tokens=MAX_TOKENS, **SAMPLING))
        for item in parity_questions(planned.profile.family)
    ]


def keep(session: EngineSession, planned: PlannedDeployment, answers: Sequence[str]) -> None:
    """Leave a deployment's answers for others of this run."""
    kept_answers.keep(session, planned, _FILE, answers)


def kept(session: EngineSession, planned: PlannedDeployment) -> list[str] | None:
    """What :func:`keep` left in this run, in whatever process; None when it did not."""
    return kept_answers.kept(session, planned, _FILE)


def check_agreement(
    planned: PlannedDeployment,
    items: Sequence[Item],
    expected: tuple[str, Sequence[str]],
    seen: tuple[str, Sequence[str]],
    evidence: Evidence,
) -> None:
    """Assert that enough answers are equal, word for word; keeps every one as evidence.

    Args:
        expected, seen: what each answered, under a name for messages.
    """
    (before, ones), (after, others) = expected, seen
    assert items and len(items) == len(ones) == len(others), (
        f"{len(items)} questions, {len(ones)} and {len(others)} answers"
    )
    different = []
    for item, one, other in zip(items, ones, others, strict=True):
        evidence.append("answers", {"item": item.id, before: one, after: other})
        if one != other:
            different.append(f"  {item.id}: {before} {one!r}, {after} {other!r}")
    agreement = planned.profile.understanding.agreement
    equal = len(items) - len(different)
    evidence.record(equal=equal, asked=len(items), agreement=agreement)
    assert equal >= agreement * len(items), (
        f"expected at least {agreement:.0%} of the answers to be equal, seen {equal} of "
        f"{len(items)}\n" + "\n".join(different[:5])
    )
