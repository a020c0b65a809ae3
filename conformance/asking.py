"""Asking a served model, and judging its answers to the bank's questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fixtures.bank import Item, generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile import ModelProfile

if TYPE_CHECKING:
    from requests import Response

# A bank question and its answer are short; this leaves room for a wordy model.
ANSWER_TOKENS = 128
_TOGETHER = 8


def chat_body(server: Endpoint, messages: Sequence[Any], **fields: Any) -> dict[str, Any]:
    """A chat completions request at temperature 0."""
    return {
        "model": server.model,
        "messages": list(messages),
        "temperature": 0.0,
        "max_tokens": ANSWER_TOKENS,
        **fields,
    }


def chat(server: Endpoint, messages: Sequence[Any], **fields: Any) -> dict[str, Any]:
    """The decoded answer of a chat request that must succeed."""
    response = server.request(
        "POST", "/v1/chat/completions", json=chat_body(server, messages, **fields)
    )
    assert response.status_code == 200, (
        f"POST /v1/chat/completions: expected 200, seen {response.status_code}: "
        f"{response.text[:500]}"
    )
    return object_of(response)


def choice_of(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer's one choice."""
    choices = answer.get("choices")
    assert isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict), (
        f"expected one choice, seen {str(choices)[:300]}"
    )
    choice: dict[str, Any] = choices[0]
    return choice


def text_of(answer: dict[str, Any]) -> str:
    """The text of an answer's one choice."""
    choice = choice_of(answer)
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    assert isinstance(content, str) and content.strip(), (
        f"expected a text answer, seen {str(choice)[:300]}"
    )
    return content


def tokens_of(answer: dict[str, Any], name: str) -> int:
    """A count of ``usage``: ``prompt_tokens``, ``completion_tokens`` or ``total_tokens``."""
    usage = answer.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    assert isinstance(count, int) and not isinstance(count, bool), (
        f"expected usage.{name}, seen usage {usage!r}"
    )
    return count


def context_length(server: Endpoint, planned: PlannedDeployment) -> int:
    """How many tokens the model's context has: what the server lists, else what its profile says.

    Only vLLM's list of models has it; another engine is held to the deployment's
    ``max_model_len``.
    """
    listed = object_of(server.request("GET", "/v1/models")).get("data")
    lengths = {
        one.get("id"): one.get("max_model_len")
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
    }
    length = lengths.get(server.model)
    if length is None:
        length = planned.deployment.arguments.get("max_model_len")
    assert isinstance(length, int) and length > 0, (
        f"expected max_model_len of {server.model} in /v1/models or in the profile, seen {length!r}"
    )
    return length


def object_of(response: Response) -> dict[str, Any]:
    """The JSON object in a response's body."""
    body = response.json()
    assert isinstance(body, dict), f"expected a JSON object, seen {response.text[:300]}"
    return body


def ask_all(server: Endpoint, items: Iterable[Item]) -> list[str]:
    """The answers to the bank's items, in their order; requests go out together."""

    def ask(item: Item) -> str:
        return text_of(chat(server, item.openai_messages()))

    with ThreadPoolExecutor(_TOGETHER) as pool:
        return list(pool.map(ask, items))


def questions(profile: ModelProfile, ability: str, **narrowed: Any) -> list[Item]:
    """The profile's share of one ability's questions."""
    return generate(
        ability,
        profile.understanding.items,
        family=profile.family,
        constants=profile.image,
        **narrowed,
    )


def check_answers(
    planned: PlannedDeployment,
    ability: str,
    items: Sequence[Item],
    answers: Sequence[str],
    evidence: Evidence,
) -> None:
    """Assert that enough of the answers are right; keeps every one as evidence."""
    assert items, f"no question of {ability!r} was asked"
    assert len(answers) == len(items), f"{len(items)} questions, {len(answers)} answers"
    right = [item.accepts(answer) for item, answer in zip(items, answers, strict=True)]
    floor = planned.profile.understanding.floors[ability]
    evidence.append(
        "abilities",
        {
            "ability": ability,
            "right": sum(right),
            "asked": len(items),
            "floor": floor,
            "answers": [
                {"item": item.id, "expected": item.answer, "seen": answer, "right": ok}
                for item, answer, ok in zip(items, answers, right, strict=True)
            ],
        },
    )
    if sum(right) < floor * len(items):
        wrong = [
            f"  {item.id}: {question_of(item)!r}\n    expected {item.answer!r}, seen {answer!r}"
            for item, answer, ok in zip(items, answers, right, strict=True)
            if not ok
        ]
        raise AssertionError(
            f"{ability}: expected at least {floor:.0%} right, seen {sum(right)} of {len(items)}\n"
            + "\n".join(wrong[:3])
        )


def question_of(item: Item) -> str:
    """The last question of an item, for messages."""
    return next(part for part in reversed(item.messages[-1].parts) if isinstance(part, str))
