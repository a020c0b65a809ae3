"""Drawn requests are the same again, stay small, and leave harmful endpoints alone."""

from __future__ import annotations

import json
from typing import Any

from conformance.fuzzing import HARMLESS, Fuzzer

DOCUMENT: dict[str, Any] = {
    "paths": {
        path: {"post": {"requestBody": {"content": {"application/json": {"schema": schema}}}}}
        for path, schema in {
            "/v1/chat/completions": {"$ref": "#/components/schemas/Chat"},
            "/tokenize": {"$ref": "#/components/schemas/Chat"},
            "/scale_elastic_ep": {"type": "object"},
        }.items()
    },
    "components": {
        "schemas": {
            "Chat": {
                "type": "object",
                "properties": {
                    "model": {"type": "string"},
                    "max_tokens": {"anyOf": [{"type": "integer", "maximum": 9e9}]},
                    "n": {"type": "integer", "maximum": 5_000_000},
                    "stream": {"type": "boolean"},
                    "self": {"$ref": "#/components/schemas/Chat"},
                    "stop": {"type": "array", "items": {"type": "string"}},
                },
            }
        }
    },
}


def test_equal_seeds_draw_equal_requests() -> None:
    first, again, other = (
        [(it.path, it.body) for it in Fuzzer(DOCUMENT, "m", seed).draw(60)] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_requests_stay_small_and_harmless() -> None:
    cases = Fuzzer(DOCUMENT, "m", 3).draw(600)
    assert {case.path for case in cases} == {"/v1/chat/completions", "/tokenize"} <= set(HARMLESS)
    bodies = [json.loads(case.body) for case in cases]
    for body in bodies:
        assert body["model"] == "m"
        assert "stream" not in body
        for name, most in (("max_tokens", 4), ("n", 1)):
            value = body.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert value <= most


def test_both_kinds_of_a_union_are_drawn_with_their_fields() -> None:
    kinds = {
        "Prompt": {"properties": {"prompt": {"type": "string"}, "special": {"type": "boolean"}}},
        "Chat": {
            "allOf": [
                {"properties": {"messages": {"type": "array"}}},
                {"properties": {"template": {"oneOf": [{"type": ["string"]}]}}},
            ]
        },
    }
    union = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in kinds]}
    content = {"application/json": {"schema": union}}
    document = {
        "paths": {"/tokenize": {"post": {"requestBody": {"content": content}}}},
        "components": {"schemas": kinds},
    }
    bodies = [json.loads(case.body) for case in Fuzzer(document, "m", 5).draw(200)]
    asked, chatted = ([it for it in bodies if name in it] for name in ("prompt", "messages"))
    assert len(asked) + len(chatted) == 200
    assert min(len(asked), len(chatted)) > 50
    assert any("special" in it for it in asked) and not any("special" in it for it in chatted)
    assert any(isinstance(it.get("template"), str) for it in chatted)
    assert not any("template" in it for it in asked)


def test_some_requests_are_right_and_some_are_not() -> None:
    bodies = [json.loads(case.body) for case in Fuzzer(DOCUMENT, "m", 4).draw(200)]
    wanted = [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}]
    right = sum(body.get("messages") == wanted for body in bodies)
    assert 40 < right < 195
