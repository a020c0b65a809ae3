"""Equal questions get equal answers: again, among others, offline and served."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from conformance import served_answers
from conformance.asking import chat, text_of
from conformance.offline_answers import parity_questions
from conformance.served_answers import check_agreement
from fixtures.bank import generate
from pytest_qwenvl.capabilities import UnsupportedError
from pytest_qwenvl.engine_session import EngineSession
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
    served_before: Callable[[], list[str]],
    offline_answers: Callable[[], list[str]],
    deployment: PlannedDeployment,
    evidence: Evidence,
) -> None:
    """The served answers are those of the offline LLM."""
    del server
    items = parity_questions(deployment.profile.family)
    served = served_before()
    offline = offline_answers()
    check_agreement(deployment, items, ("offline", offline), ("served", served), evidence)


@pytest.mark.needs("launch")
@pytest.mark.last
@pytest.mark.requirement("QVL-CON-004")
def test_devices_agree(
    engine_session: EngineSession,
    served_before: Callable[[], list[str]],
    deployment: PlannedDeployment,
    evidence: Evidence,
) -> None:
    """The model's deployments on other numbers of devices gave the same answers."""
    here = served_before()
    others = {
        other.id: answers
        for other in engine_session.plan.deployments
        if other.profile.name == deployment.profile.name
        and other.deployment.mode == "serve"
        and other.deployment.npus != deployment.deployment.npus
        and (answers := served_answers.kept(engine_session, other)) is not None
    }
    if not others:
        raise UnsupportedError(
            "no deployment on another number of devices has been asked in this run so far"
        )
    items = parity_questions(deployment.profile.family)
    for name, there in others.items():
        check_agreement(deployment, items, (name, there), (deployment.id, here), evidence)
