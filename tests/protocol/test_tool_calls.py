"""Tool calls, plain and in pieces, and what can be wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_qwenvl.protocol.tool_calls import collect_tool_calls, read_tool_calls


def call(**changed: Any) -> dict[str, Any]:
    function = {"name": "paint", "arguments": '{"colour": "red"}'} | changed.pop("function", {})
    return {"id": "call-1", "type": "function", "function": function} | changed


def test_calls_of_a_message() -> None:
    calls, findings = read_tool_calls({"content": "", "tool_calls": [call(), call(id="call-2")]})
    assert findings == []
    assert [(it.id, it.name, it.arguments) for it in calls] == [
        ("call-1", "paint", {"colour": "red"}),
        ("call-2", "paint", {"colour": "red"}),
    ]


@pytest.mark.parametrize("message", [{}, {"tool_calls": None}, {"tool_calls": []}])
def test_no_calls(message: dict[str, Any]) -> None:
    assert read_tool_calls(message) == ([], [])


@pytest.mark.parametrize(
    "entry",
    [
        "paint",
        {},
        call(id=""),
        call(id=None),
        call(type="tool"),
        call(function={"name": None}),
        call(function={"name": ""}),
        call(function={"arguments": {"colour": "red"}}),
        call(function={"arguments": '{"colour": "red"'}),
        call(function={"arguments": '"red"'}),
        call(function={"arguments": ""}),
    ],
)
def test_broken_calls_are_found(entry: Any) -> None:
    calls, findings = read_tool_calls({"tool_calls": [entry]})
    assert calls == []
    assert findings


def test_equal_ids_are_found() -> None:
    assert read_tool_calls({"tool_calls": [call(), call()]})[1]


def piece(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | more.pop("function", {})
    delta = {"tool_calls": [{"index": index, "function": function, **more}]}
    return {"choices": [{"index": 0, "delta": delta}]}


def begin(index: int, name: str = "paint") -> dict[str, Any]:
    return piece(index, "", id=f"call-{index}", type="function", function={"name": name})


def test_calls_in_pieces() -> None:
    chunks = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        begin(0), piece(0, '{"colour"'), piece(0, ': "red"}'),
        begin(1, "ring"), piece(1, "{}"),
        {"choices": []},
    ]  # fmt: skip
    calls, findings = collect_tool_calls(chunks)
    assert findings == []
    assert [(it.name, it.arguments) for it in calls] == [("paint", {"colour": "red"}), ("ring", {})]


@pytest.mark.parametrize(
    "chunks",
    [
        [begin(0), piece(0, '{"colour"')],
        [begin(1), piece(1, "{}")],
        [begin(0), piece(0, "{}", id="call-9")],
        [piece(0, "{}"), piece(0, "")],
        [begin(0), piece(0, "{}"), piece(0, "{}")],
    ],
    ids=["cut off", "begins at 1", "id changes", "no name", "one piece twice"],
)
def test_broken_pieces_are_found(chunks: list[dict[str, Any]]) -> None:
    assert collect_tool_calls(chunks)[1]
