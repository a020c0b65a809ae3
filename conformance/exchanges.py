"""Raw requests to a server's OpenAI interface, several at once, and what is kept of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from conformance.asking import chat_body, choice_of, object_of
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.findings import Finding

if TYPE_CHECKING:
    from requests import Response

CHAT = "/v1/chat/completions"
COUNTING = "Count from 1 to 30."
"""A question whose answer is long, the same for every model, and all but certain."""
OPEN_QUESTIONS = (
    "Tell a long story about the sea, a ship and an old sailor.",
    "Explain why bread rises.",
    "Write a poem about rain.",
    "How far is the moon?",
    "Why is grass green?",
    "What do bees eat?",
    "Sing a song.",
    "Give me advice.",
)
"""Questions with many answers: what is sampled shows, and small models know none of them."""
ENDLESS: Mapping[str, Any] = {"logit_bias": {"40": 100}}
"""Fields with which an answer goes on, one character again and again, until something cuts it.

The token is a printable ASCII character in Qwen's vocabulary and in the references'. Only OpenAI's
own schema is used, so that an engine without vLLM's ``ignore_eos`` is asked the same.
"""
_TOGETHER = 8
_KEPT = 4000  # characters of a body


def asking(server: Endpoint, question: str, **fields: Any) -> dict[str, Any]:
    """A chat request of one question, at temperature 0 unless ``fields`` say otherwise."""
    return chat_body(server, [{"role": "user", "content": question}], **fields)


def require_endless(server: Endpoint) -> None:
    """Make sure that :data:`ENDLESS` has its effect, before something else is judged with it.

    Raises:
        InconclusiveError: it has none; QVL-OAI-017 is the requirement that says so.
    """
    response = server.request("POST", CHAT, json=asking(server, COUNTING, max_tokens=2, **ENDLESS))
    seen = f"HTTP {response.status_code}: {response.text[:200]}"
    if response.status_code == 200:
        message = choice_of(object_of(response)).get("message")
        text = message.get("content") if isinstance(message, dict) else None
        if isinstance(text, str) and len(text) == 2 and len(set(text)) == 1:
            return
        seen = repr(text)
    raise InconclusiveError(
        f"no answer can be kept going: a logit_bias of 100 for one token, which QVL-OAI-017 "
        f"decides, gave {seen}"
    )


def post_all(server: Endpoint, bodies: Iterable[Any], path: str = CHAT) -> list[Response]:
    """The responses to several requests that go out together, in their order."""

    def post(body: Any) -> Response:
        return server.request("POST", path, json=body)

    with ThreadPoolExecutor(_TOGETHER) as pool:
        return list(pool.map(post, bodies))


def answers_of(
    server: Endpoint, bodies: Sequence[Any], evidence: Evidence, path: str = CHAT
) -> list[dict[str, Any]]:
    """The decoded answers to several requests that must succeed; they go out together."""
    answers = []
    for body, response in zip(bodies, post_all(server, bodies, path), strict=True):
        keep(response, evidence)
        assert response.status_code == 200, (
            f"POST {path} with {_without_messages(body)}: expected 200, seen "
            f"{response.status_code}: {response.text[:500]}"
        )
        answers.append(object_of(response))
    return answers


def choices_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """An answer's choices, by index; at least one."""
    choices = answer.get("choices")
    assert isinstance(choices, list) and choices, f"expected choices, seen {str(answer)[:300]}"
    assert all(isinstance(one, dict) and type(one.get("index")) is int for one in choices), (
        f"expected choices with an index, seen {str(choices)[:300]}"
    )
    return sorted(choices, key=lambda one: int(one["index"]))


def logprobs_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of ``logprobs.content`` of an answer's one choice; at least one."""
    logprobs = choice_of(answer).get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    assert isinstance(content, list) and content, (
        f"expected logprobs.content, asked for with logprobs=true, seen {str(logprobs)[:300]}"
    )
    for entry in content:
        ranked = entry.get("top_logprobs") if isinstance(entry, dict) else None
        assert isinstance(ranked, list) and all(map(_is_token, [entry, *ranked])), (
            f"expected token, logprob and top_logprobs, seen {entry!r}"
        )
    return content


def keep(response: Response, evidence: Evidence) -> None:
    """Note what was answered."""
    evidence.append("answers", {"status": response.status_code, "body": response.text[:_KEPT]})


def check_findings(findings: Iterable[Finding], body: str, evidence: Evidence) -> None:
    """Assert that a reader objected to nothing."""
    listed = [str(finding) for finding in findings]
    evidence.append("bodies", {"body": body[:_KEPT], "findings": listed})
    assert not listed, "in the raw body:\n" + "\n".join(f"  {it}" for it in listed[:10])


def _is_token(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("token"), str)
        and isinstance(entry.get("logprob"), int | float)
    )


def _without_messages(body: Any) -> Any:
    if not isinstance(body, dict):
        return str(body)[:200]
    return {key: value for key, value in body.items() if key not in ("messages", "prompt")}
