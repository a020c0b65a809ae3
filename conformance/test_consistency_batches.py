"""Answers do not depend on who else asks, or on what was asked before."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from conformance.asking import ask_all, chat, chat_body, check_answers, text_of
from conformance.served_answers import check_agreement
from fixtures.bank import UPPER_SYSTEM, Item, Message, generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.protocol.image_tokens import image_tokens

pytestmark = pytest.mark.consistency

CROWD = 16
SMALL, LARGE = (56, 72), (192, 224)


def _text(server: Endpoint, item: Item) -> str:
    return text_of(chat(server, item.openai_messages()))


def _one_by_one(server: Endpoint, items: list[Item]) -> list[str]:
    return [_text(server, item) for item in items]


def _together(server: Endpoint, items: list[Item]) -> list[str]:
    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(lambda item: _text(server, item), items))


@pytest.mark.requirement("QVL-CON-003")
def test_alone_and_in_a_batch(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Questions of all sizes have the answers in a crowd that they have alone."""
    family = deployment.profile.family
    items = [
        *generate("colour", 4, family=family, sizes=SMALL, seed=11),
        *generate("shape", 4, family=family, sizes=LARGE, seed=11),
        *generate("which_image", 4, family=family, seed=11),
        *generate("describe", 4, family=family, seed=11),
        *generate("chat", 4, family=family),
    ]
    alone = _one_by_one(server, items)
    crowd = _together(server, items)
    check_agreement(deployment, items, ("alone", alone), ("crowd", crowd), evidence)


@pytest.mark.requirement("QVL-CON-005")
def test_alternating_sizes(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Small and large pictures in turn are seen as well as many of one size."""
    count = deployment.profile.understanding.items // 2
    family = deployment.profile.family
    small = generate("colour", count, family=family, sizes=SMALL, seed=12)
    large = generate("colour", count, family=family, sizes=LARGE, seed=12)
    wide = generate("colour", count, family=family, sizes=(60, 224), seed=12)
    items = [item for three in zip(small, large, wide, strict=True) for item in three]
    answers = _one_by_one(server, items[: 2 * count]) + _together(server, items[2 * count :])
    check_answers(deployment, "colour", items, answers, evidence)


@pytest.mark.requirement("QVL-CON-008")
def test_odd_token_counts(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Pictures of odd numbers of tokens, together in a batch, are seen as well as any."""
    profile = deployment.profile
    constants = profile.image
    odd: list[Item] = []
    # The family's smallest picture may be larger than these; then its count is what it is.
    for item in generate("colour", 400, family=profile.family, sizes=(56, 224), seed=13):
        (picture,) = item.pictures
        if image_tokens(picture.width, picture.height, constants) % 2:
            odd.append(item)
    odd = odd[: 2 * profile.understanding.items]
    if not odd:
        pytest.skip("no picture of 56 to 224 pixels a side has an odd number of tokens")
    check_answers(deployment, "colour", odd, _together(server, odd), evidence)


@pytest.mark.requirement("QVL-CON-009")
def test_answers_stay_with_their_request(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """No request gets what another one asked for, streamed or not."""
    family = deployment.profile.family
    items: list[Item] = []
    for item in generate("number", 60, family=family, seed=14):
        if item.answer not in {other.answer for other in items}:
            items.append(item)
    items = items[:24]
    alone = ask_all(server, items)
    # A server that answers no stream at all breaks QVL-STR-001, and can mix up plain answers still.
    probe = chat_body(server, items[0].openai_messages(), max_tokens=1, stream=True)
    streams = server.request("POST", "/v1/chat/completions", json=probe).status_code == 200
    evidence.record(streams=streams)

    def ask(numbered: tuple[int, Item]) -> str:
        number, item = numbered
        return _streamed(server, item) if streams and number % 2 else _text(server, item)

    with ThreadPoolExecutor(CROWD) as pool:
        crowd = list(pool.map(ask, enumerate(items)))
    swapped = []
    for item, one, other in zip(items, alone, crowd, strict=True):
        evidence.append("answers", {"item": item.id, "alone": one, "crowd": other})
        owner = next((it for it in items if it is not item and it.accepts(other)), None)
        if owner is not None and item.accepts(one) and not item.accepts(other):
            swapped.append(f"{item.id}: {other!r}, which is the answer to {owner.id}")
    assert not swapped, "expected each answer at its own question\n  " + "\n  ".join(swapped[:5])
    floor = deployment.profile.understanding.floors["number"]
    right = sum(item.accepts(answer) for item, answer in zip(items, crowd, strict=True))
    evidence.record(right=right, asked=len(items), floor=floor)
    assert right >= floor * len(items), (
        f"expected at least {floor:.0%} of {len(items)} numbers to be read right, seen {right}"
    )


def _streamed(server: Endpoint, item: Item) -> str:
    """The text of an answer that came as a stream."""
    body = chat_body(server, item.openai_messages(), stream=True)
    text = ""
    with server.request("POST", "/v1/chat/completions", json=body, stream=True) as response:
        assert response.status_code == 200, f"seen {response.status_code}: {response.text[:300]}"
        for line in response.iter_lines():
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:]).get("choices", []):
                    text += choice["delta"].get("content") or ""
    assert text.strip(), f"{item.id}: expected a streamed answer, seen none"
    return text


@pytest.mark.requirement("QVL-CON-010")
def test_nothing_carried_over(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """A system message or picture of one request shows in no later one."""
    family = deployment.profile.family
    plain = [
        replace(item, messages=tuple(it for it in item.messages if it.role != "system"))
        for item in generate("colour", 5, family=family, seed=15)
    ] + generate("chat", 5, family=family)
    obedient = [
        replace(item, messages=(Message("system", (UPPER_SYSTEM,)), *item.messages))
        for item in plain[:5]
    ] + generate("system_upper", 5, family=family, seed=15)
    before = _one_by_one(server, plain)
    after = []
    for item, other in zip(plain, obedient, strict=True):
        _text(server, other)
        after.append(_text(server, item))
    mixed = _together(server, [it for two in zip(plain, obedient, strict=True) for it in two])
    check_agreement(
        deployment,
        plain * 2,
        ("before", before * 2),
        ("after", after + mixed[::2]),
        evidence,
    )
