"""Tool calls of chat answers: read from a message, or put together from a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_qwenvl.protocol.body import read_json
from pytest_qwenvl.protocol.findings import Finding, shorten


@dataclass(frozen=True)
class ToolCall:
    """One call, its arguments decoded."""

    id: str
    name: str
    arguments: Mapping[str, Any]


def read_tool_calls(message: Mapping[str, Any]) -> tuple[list[ToolCall], list[Finding]]:
    """The calls of a plain answer's message, and everything that is not as it must be."""
    entries = message.get("tool_calls") or []
    if not isinstance(entries, list):
        return [], [Finding("tool_calls", "a list", shorten(entries), kind="type")]
    calls, findings = [], []
    for position, entry in enumerate(entries):
        call, more = _call(entry, f"tool_calls[{position}]")
        findings += more
        if call is not None:
            calls.append(call)
    identifiers = [call.id for call in calls]
    if len(set(identifiers)) != len(identifiers):
        findings.append(Finding("tool_calls", "an id of its own for each", shorten(identifiers)))
    return calls, findings


def collect_tool_calls(
    chunks: Iterable[Mapping[str, Any]],
) -> tuple[list[ToolCall], list[Finding]]:
    """The calls of a streamed answer's first choice, put together from its decoded chunks.

    The first piece of a call has its id, type and name; later ones only add to its arguments, by
    ``index``.
    """
    pieces: dict[int, dict[str, Any]] = {}
    findings: list[Finding] = []
    for number, chunk in enumerate(chunks):
        for choice in chunk["choices"]:
            for delta in choice["delta"].get("tool_calls") or []:
                where = f"event {number}: delta.tool_calls"
                function = delta.get("function") or {}
                known = pieces.get(delta["index"])
                if known is None:
                    if delta["index"] != len(pieces):
                        seen = str(delta["index"])
                        findings.append(Finding(f"{where}.index", str(len(pieces)), seen))
                    pieces[delta["index"]] = {
                        "id": delta.get("id"),
                        "type": delta.get("type"),
                        "function": {
                            "name": function.get("name"),
                            "arguments": function.get("arguments") or "",
                        },
                    }
                    continue
                if delta.get("id") not in (None, known["id"]):
                    findings.append(Finding(f"{where}.id", shorten(known["id"]), delta["id"]))
                known["function"]["arguments"] += function.get("arguments") or ""
    calls, more = read_tool_calls({"tool_calls": [pieces[index] for index in sorted(pieces)]})
    return calls, findings + more


def _call(entry: Any, where: str) -> tuple[ToolCall | None, list[Finding]]:
    function = entry.get("function") if isinstance(entry, dict) else None
    if not isinstance(function, dict):
        return None, [Finding(where, "an object with a function", shorten(entry), kind="type")]
    findings = []
    if entry.get("type") != "function":
        findings.append(Finding(f"{where}.type", "'function'", shorten(entry.get("type"))))
    for path, value in (("id", entry.get("id")), ("function.name", function.get("name"))):
        if not isinstance(value, str) or not value:
            findings.append(Finding(f"{where}.{path}", "a text", shorten(value), kind="type"))
    text = function.get("arguments")
    if not isinstance(text, str):
        path = f"{where}.function.arguments"
        return None, [*findings, Finding(path, "JSON in a text", shorten(text), kind="type")]
    arguments, more = read_json(text)
    findings += [
        Finding(f"{where}.function.arguments", each.expected, each.seen, kind=each.kind)
        for each in more
    ]
    if arguments is None or findings:
        return None, findings
    return ToolCall(entry["id"], function["name"], arguments), findings
