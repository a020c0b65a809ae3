"""Equal questions get equal answers: again, among others, offline and served."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from conformance.asking import chat, text_of
from conformance.offline_answers import MAX_TOKENS, SAMPLING, parity_questions
from fixtures.bank import generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

pytestmark = pytest.mark.consistency

REPEATS = 8


@pytest.mark.requirement("QVL-CON-002")
def test_greedy_repeats(server: Endpoint, evidence: Evidence) -> None:
    """One request, again and again, alone and in a crowd of others, has one answer."""
    (item,) = generate("describe", 1)
    others = generate("which_image", REPEATS) + generate("colour", REPEATS)
    alone = [text_of(chat(server, item.openai_messages())) for _ in range(2)]
    with ThreadPoolExecutor(REPEATS) as pool:
        crowd = [pool.submit(chat, server, other.openai_messages()) for other in others]
        among = [pool.submit(chat, server, item.openai_messages()) for _ in range(REPEATS)]
        for future in crowd:
            text_of(future.result())
        answers = alone + [text_of(future.result()) for future in among]
    evidence.record(answers=answers)
    different = sorted(set(answers) - {answers[0]})
    assert not different, f"expected {answers[0]!r} each time, seen also {different[:3]}"


@pytest.mark.last
@pytest.mark.needs("launch")
@pytest.mark.requirement("QVL-CON-001")
def test_served_equals_offline(
    server: Endpoint,
    offline_answers: Callable[[], list[str]],
    deployment: PlannedDeployment,
    evidence: Evidence,
) -> None:
    """The served answers are those of the offline LLM."""
    items = parity_questions(deployment.profile.family)
    served = [
        text_of(chat(server, item.openai_messages(), max_tokens=MAX_TOKENS, **SAMPLING))
        for item in items
    ]
    offline = offline_answers()
    assert len(offline) == len(items), f"{len(items)} questions, {len(offline)} offline answers"
    different = []
    for item, here, there in zip(items, served, offline, strict=True):
        evidence.append("answers", {"item": item.id, "served": here, "offline": there})
        if here != there:
            different.append(f"  {item.id}: offline {there!r}, served {here!r}")
    agreement = deployment.profile.understanding.agreement
    equal = len(items) - len(different)
    evidence.record(equal=equal, asked=len(items), agreement=agreement)
    assert equal >= agreement * len(items), (
        f"expected at least {agreement:.0%} of the answers to be equal, seen {equal} of "
        f"{len(items)}\n" + "\n".join(different[:5])
    )
