"""Tool calls: named, required, left to the model, streamed, and with their result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from conformance.asking import chat, chat_body, choice_of, text_of
from conformance.exchanges import OPEN_QUESTIONS, answers_of, asking
from conformance.streams import stream
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.body import validate
from pytest_qwenvl.protocol.findings import Deviation, Finding
from pytest_qwenvl.protocol.tool_calls import ToolCall, collect_tool_calls, read_tool_calls

if TYPE_CHECKING:
    from pydantic import BaseModel

QUESTIONS = ("Paint the wall red.", "Paint the door blue.", OPEN_QUESTIONS[3])


def _parameters() -> dict[str, type[BaseModel]]:
    from pydantic import BaseModel, ConfigDict

    class Paint(BaseModel):
        model_config = ConfigDict(extra="forbid")

        colour: Literal["red", "blue"]

    class Ring(BaseModel):
        model_config = ConfigDict(extra="forbid")

        times: Literal[1, 2]

    return {"paint": Paint, "ring_bell": Ring}


def _tools() -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": f"{name.replace('_', ' ').capitalize()}.",
                # Only then does OpenAI promise arguments that fit the parameters.
                "strict": True,
                "parameters": parameters.model_json_schema(),
            },
        }
        for name, parameters in _parameters().items()
    ]


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def _body(server: Endpoint, question: str, tool_choice: Any) -> dict[str, Any]:
    # A small model may put blank after blank between two values; the penalty ends that.
    return asking(
        server,
        question,
        tools=_tools(),
        tool_choice=tool_choice,
        max_tokens=96,
        frequency_penalty=2.0,
    )


def _check_calls(calls: list[ToolCall], findings: list[Finding], seen: object) -> None:
    known = _parameters()
    for call in calls:
        assert call.name in known, f"expected one of {sorted(known)}, seen a call of {call.name!r}"
        findings = findings + validate(dict(call.arguments), known[call.name])[1]
    assert not findings, f"in {str(seen)[:300]}:\n" + "\n".join(str(it) for it in findings[:10])


def _message(answer: dict[str, Any]) -> dict[str, Any]:
    message = choice_of(answer).get("message")
    assert isinstance(message, dict), f"expected a message, seen {str(answer)[:300]}"
    return message


@pytest.mark.openai
@pytest.mark.requirement("QVL-OAI-035")
def test_named_tool(server: Endpoint, capabilities: Capabilities, evidence: Evidence) -> None:
    """The tool that is named is called, once, whatever is asked."""
    capabilities.require("tools")
    names = ("paint", "ring_bell", "paint")
    bodies = [
        _body(server, question, _named(name))
        for question, name in zip(QUESTIONS, names, strict=True)
    ]
    identifiers = []
    for name, answer in zip(names, answers_of(server, bodies, evidence), strict=True):
        message = _message(answer)
        calls, findings = read_tool_calls(message)
        _check_calls(calls, findings, message)
        assert [call.name for call in calls] == [name], f"expected {name!r}, seen {message}"
        identifiers += [call.id for call in calls]
        reason = choice_of(answer).get("finish_reason")
        assert reason in ("stop", "tool_calls"), f"expected finish_reason stop, seen {reason!r}"
    assert len(set(identifiers)) == len(identifiers), (
        f"expected an id of its own for each call, since results are told by it: {identifiers}"
    )


@pytest.mark.openai
@pytest.mark.requirement("QVL-OAI-036")
def test_required_tool(server: Endpoint, capabilities: Capabilities, evidence: Evidence) -> None:
    """Some tool is called, whatever is asked."""
    capabilities.require("tools")
    bodies = [_body(server, question, "required") for question in QUESTIONS]
    ended = 0
    for answer in answers_of(server, bodies, evidence):
        message, reason = _message(answer), choice_of(answer).get("finish_reason")
        if reason == "length":
            continue
        ended += 1
        calls, findings = read_tool_calls(message)
        _check_calls(calls, findings, message)
        assert calls, f"expected a tool call, seen {message}"
        assert reason == "tool_calls", f"expected finish_reason tool_calls, seen {reason!r}"
    evidence.record(ended=ended)
    assert ended, f"none of {len(bodies)} answers ended within the tokens it had"


@pytest.mark.openai
@pytest.mark.requirement("QVL-OAI-037")
def test_free_choice_of_tools(
    server: Endpoint, capabilities: Capabilities, evidence: Evidence
) -> None:
    """Left to the model, an answer is text or calls; forbidden, it is text."""
    capabilities.require("auto_tools")
    bodies = [
        _body(server, question, choice) for choice in ("auto", "none") for question in QUESTIONS
    ]
    answers = answers_of(server, bodies, evidence)
    for number, answer in enumerate(answers):
        message, reason = _message(answer), choice_of(answer).get("finish_reason")
        calls, findings = read_tool_calls(message)
        _check_calls(calls, findings, message)
        assert calls or message.get("content"), f"expected a text or a call, seen {message}"
        assert bool(calls) == (reason == "tool_calls"), (
            f"expected finish_reason tool_calls with calls, and only then, seen {reason!r} with "
            f"{message}"
        )
        forbidden = number >= len(QUESTIONS)
        assert not (calls and forbidden), f"tool_choice none: expected no call, seen {message}"


@pytest.mark.openai
@pytest.mark.requirement("QVL-OAI-038")
def test_tool_result(server: Endpoint, evidence: Evidence) -> None:
    """A conversation goes on after a tool call and its result."""
    call = {
        "id": "call-1",
        "type": "function",
        "function": {"name": "paint", "arguments": '{"colour": "red"}'},
    }
    messages = [
        {"role": "user", "content": QUESTIONS[0]},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call-1", "content": "The wall is red."},
        {"role": "user", "content": "Say hello."},
    ]
    body = chat_body(server, messages, max_tokens=16)
    (answer,) = answers_of(server, [body], evidence)
    text_of(answer)


@pytest.mark.streaming
@pytest.mark.requirement("QVL-STR-018")
def test_streamed_tool_call(
    server: Endpoint,
    capabilities: Capabilities,
    deviations: tuple[Deviation, ...],
    evidence: Evidence,
) -> None:
    """The pieces of a streamed call are the call of the plain answer."""
    capabilities.require("tools")
    for choice in (_named("paint"), _named("ring_bell")):
        body = _body(server, QUESTIONS[0], choice)
        fields = {key: value for key, value in body.items() if key not in ("model", "messages")}
        message = _message(chat(server, body["messages"], **fields))
        expected, _ = read_tool_calls(message)
        if not expected:
            raise InconclusiveError(
                f"the plain answer has no tool call (QVL-OAI-035 decides that), seen {message}"
            )
        reading = stream(server, body, deviations, evidence)
        calls, findings = collect_tool_calls(reading.bodies)
        assert not findings, "\n".join(str(finding) for finding in findings[:10])
        here = [(call.name, dict(call.arguments)) for call in calls]
        there = [(call.name, dict(call.arguments)) for call in expected]
        assert here == there, f"expected the plain answer's calls {there}, seen {here}"
        assert reading.finish_reason in ("stop", "tool_calls"), (
            f"expected finish_reason stop or tool_calls, seen {reading.finish_reason!r}"
        )
