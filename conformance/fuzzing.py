"""Requests drawn from an engine's own OpenAPI document: mostly right, wrong in one place.

A seed decides everything, so that a finding can be repeated; nothing drawn asks for much work.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from random import Random
from typing import Any

from conformance.malformed import Case

#: Endpoints that only compute: what configures, profiles or scales an engine is left alone.
HARMLESS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/tokenize",
    "/detokenize",
)
_DEPTH = 4
_NESTED = 10  # unions within unions, in one place
_FIELDS = 2  # optional fields set beside the required ones
# What a request may ask for at most, and what would leave something behind.
_BOUNDED: Mapping[str, int] = {
    "max_tokens": 4,
    "max_completion_tokens": 4,
    "max_output_tokens": 16,
    "min_tokens": 0,
    "n": 1,
    "best_of": 1,
}
_LEFT_OUT = frozenset({"background", "store", "kv_transfer_params", "ec_transfer_params", "stream"})
_ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**31,
    2**63,
    -(2**70),
    1e300,
    "",
    "x",
    "\u0000",
    "\U0001f600",
    "a" * 300,
    [],
    [None],
    [[]],
    {},
    {"": None},
    {"type": "x"},
)


class Fuzzer:
    """Draws requests for the endpoints of one OpenAPI document.

    Args:
        document: what ``/openapi.json`` says.
        model: the name to ask for.
    """

    def __init__(self, document: Mapping[str, Any], model: str, seed: int) -> None:
        self._document = document
        self._model = model
        self._rng = Random(seed)
        paths = document.get("paths", {})
        self.schemas: dict[str, Mapping[str, Any]] = {
            path: schema
            for path in HARMLESS
            if (schema := _body_schema(paths.get(path, {}))) is not None
        }

    def draw(self, count: int) -> list[Case]:
        """That many requests, over the endpoints in turn."""
        paths = list(self.schemas)
        cases = []
        for number in range(count):
            path = paths[number % len(paths)]
            body = self._body(path)
            name = f"{path} {number}"
            cases.append(Case(name, json.dumps(body).encode(), path=path, answered=True))
        return cases

    def _body(self, path: str) -> Any:
        schema = self._one_of(self.schemas[path])
        body = _good(path, self._model, schema.get("properties", {}))
        known = [name for name in schema.get("properties", {}) if name not in _LEFT_OUT]
        for name in self._rng.sample(known, min(_FIELDS, len(known))):
            if name not in body:
                body[name] = self._value(schema["properties"][name], _DEPTH)
        # One place is wrong: any value at all, anywhere below the body.
        if self._rng.random() < 0.6:
            self._spoil(body)
        if isinstance(body, dict):
            for name, most in _BOUNDED.items():
                value = body.get(name)
                if isinstance(value, int | float) and not isinstance(value, bool) and value > most:
                    body[name] = most
            for name in _LEFT_OUT:
                body.pop(name, None)
        return body

    def _spoil(self, body: Any) -> None:
        place: Any = body
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = self._rng.choice(keys)
            child = place[key]
            if isinstance(child, dict | list) and child and self._rng.random() < 0.6:
                place = child
                continue
            if key == "model" and place is body:
                return
            place[key] = copy.deepcopy(self._rng.choice(_ODD))
            return

    def _value(self, schema: Any, depth: int) -> Any:
        schema = self._one_of(schema)
        rng = self._rng
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return rng.choice(schema["enum"])
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = rng.choice(kind) if kind else None
        if kind == "boolean":
            return rng.random() < 0.5
        if kind == "integer":
            return rng.choice((0, 1, 2, 5, -1, schema.get("minimum", 0), schema.get("maximum", 7)))
        if kind == "number":
            return rng.choice((0, 0.5, 1, 2.0, -1.5))
        if kind == "string":
            return rng.choice(("", "x", "hello", "auto", "\u00e9\U0001f600"))
        if kind == "array":
            items = schema.get("items", {})
            return (
                [self._value(items, depth - 1) for _ in range(rng.randint(0, 2))] if depth else []
            )
        if kind == "object":
            return self._object(schema, depth)
        return copy.deepcopy(rng.choice(_ODD)) if kind is None else None

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not depth:
            return {}
        chosen = [name for name in properties if name in required or self._rng.random() < 0.3]
        return {name: self._value(properties[name], depth - 1) for name in chosen}

    def _one_of(self, schema: Any) -> Mapping[str, Any]:
        """A schema without references and unions: one member of each, all of ``allOf`` together."""
        for _ in range(_NESTED):
            schema = self._resolve(schema)
            union = next((name for name in ("anyOf", "oneOf") if schema.get(name)), None)
            if union is not None:
                schema = self._rng.choice(schema[union])
            elif schema.get("allOf"):
                parts = [self._one_of(part) for part in schema["allOf"]]
                merged = {key: value for part in parts for key, value in part.items()}
                merged["properties"] = {
                    name: its for part in parts for name, its in part.get("properties", {}).items()
                }
                return merged
            else:
                break
        return schema if isinstance(schema, Mapping) else {}

    def _resolve(self, schema: Any) -> Mapping[str, Any]:
        for _ in range(10):
            if not isinstance(schema, Mapping) or "$ref" not in schema:
                break
            found: Any = self._document
            for part in str(schema["$ref"]).lstrip("#/").split("/"):
                found = found.get(part, {}) if isinstance(found, Mapping) else {}
            schema = found
        return schema if isinstance(schema, Mapping) else {}


def _body_schema(methods: Mapping[str, Any]) -> Mapping[str, Any] | None:
    content = methods.get("post", {}).get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    return schema if isinstance(schema, Mapping) else None


def _good(path: str, model: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """A small request of an endpoint that is right, of the kind that has these properties."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}]
    body: dict[str, Any] = {"model": model}
    chats = "messages" in properties and "prompt" not in properties
    if path in ("/v1/completions", "/tokenize") and not chats:
        body["prompt"] = "Hello"
    elif path == "/detokenize":
        body["tokens"] = [1, 2, 3]
    elif path == "/v1/responses":
        body["input"] = "Say hello."
        body["max_output_tokens"] = 16
    else:
        body["messages"] = messages
    if path in ("/v1/chat/completions", "/v1/completions", "/v1/messages"):
        body["max_tokens"] = 2
    return body
