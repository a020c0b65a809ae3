"""Requests that are made to harm: bombs, templates, patterns, embeddings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from conformance import crafted_pngs, malformed
from conformance.asking import ask_all, object_of, tokens_of
from conformance.malformed import CHAT, Case, content_case, fields_case, hello, picture_url
from conformance.metrics import resident_bytes
from conformance.refusing import Refusing, check_still_serves, send_all
from fixtures.bank import Item, generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence

pytestmark = pytest.mark.security

LARGEST_BOMB = 30_000  # bytes: what is sent must harm by what it says, not by its size
# Unpacked, any of the bombs would take more than this (bytes).
MEMORY_FOR_BOMBS = 400_000_000


def _bombs() -> dict[str, bytes]:
    return {
        "a picture of 14000x14000": crafted_pngs.png_of_one_colour(14_000),
        "a picture of 60000x60000, by its header": crafted_pngs.png_claiming(60_000, 60_000),
        "a comment of 25 MB": crafted_pngs.png_with_long_comment(25_000_000),
    }


@pytest.mark.requirement("QVL-SEC-006")
def test_decompression_bombs(server: Endpoint, refuses: Refusing, evidence: Evidence) -> None:
    """Small pictures that unpack to gigabytes are refused before they do."""
    bombs = _bombs()
    sizes = {name: len(data) for name, data in bombs.items()}
    assert max(sizes.values()) <= LARGEST_BOMB, f"bombs must stay small, seen {sizes}"
    before = resident_bytes(server)
    refuses([malformed.url_case(server, name, picture_url(data)) for name, data in bombs.items()])
    after = resident_bytes(server)
    evidence.record(bytes=sizes, resident_before=before, resident_after=after)
    if before and after:
        assert after - before < MEMORY_FOR_BOMBS, (
            f"after bombs of at most {LARGEST_BOMB} bytes: expected less than "
            f"{MEMORY_FOR_BOMBS / 1e6:.0f} MB more in the server's process, seen "
            f"{(after - before) / 1e6:.0f} MB"
        )


@pytest.mark.requirement("QVL-SEC-008")
def test_request_templates(server: Endpoint, evidence: Evidence) -> None:
    """A template that comes with a request is refused, or has no effect."""
    template = "{{ 'word ' * 60 }}"
    plain = hello(server)
    ways: dict[str, dict[str, object]] = {
        "chat_template": {"chat_template": template},
        "in its arguments": {"chat_template_kwargs": {"chat_template": template}},
        "the other name": {"chat_template_kwargs": {"template": template}},
    }
    expected = tokens_of(object_of(server.request("POST", CHAT, json=plain)), "prompt_tokens")
    applied = []
    for name, fields in ways.items():
        response = server.request("POST", CHAT, json=plain | fields)
        evidence.append("answers", {"way": name, "status": response.status_code})
        if 400 <= response.status_code < 500:
            continue
        assert response.status_code == 200, (
            f"{name}: expected a 4xx, or an answer by the model's own template; seen "
            f"{response.status_code}: {response.text[:300]}"
        )
        seen = tokens_of(object_of(response), "prompt_tokens")
        if seen != expected:
            applied.append(f"{name}: {seen} prompt tokens, {expected} without it")
    response = server.request(
        "POST",
        "/tokenize",
        json={"model": server.model, "messages": plain["messages"], "chat_template": template},
    )
    if response.status_code == 200:
        count = object_of(response).get("count")
        evidence.record(tokenize_count=count)
        if count != expected:
            applied.append(f"/tokenize: {count} tokens, {expected} without it")
    assert not applied, "expected no template of a request to be applied\n  " + "\n  ".join(applied)
    check_still_serves(server, "templates in requests")


@pytest.mark.requirement("QVL-SEC-009")
def test_template_arguments(server: Endpoint, refuses: Refusing) -> None:
    """Hostile arguments of a template are refused or without harm."""
    hostile = {
        "messages": [],
        "tools": [{"type": "function"}] * 100,
        "tokenize": True,
        "return_tensors": "pt",
        "return_dict": True,
        "add_generation_prompt": "no",
        "padding": "max_length",
        "max_length": 10**12,
        "truncation": True,
        "conversation": "x" * 100_000,
        "self": 1,
        "__class__": {},
    }
    refuses(
        [
            fields_case(server, name, answered=True, chat_template_kwargs={name: value})
            for name, value in hostile.items()
        ]
    )


@pytest.mark.requirement("QVL-SEC-011")
def test_embeddings(server: Endpoint, refuses: Refusing) -> None:
    """Ready-made embeddings are refused where the deployment does not allow them."""
    tensor = "gAJjdG9yY2guX3V0aWxzCl9yZWJ1aWxkX3RlbnNvcl92MgpxAC4="
    cases = [
        content_case(server, "image_embeds", {"type": "image_embeds", "image_embeds": tensor}),
        content_case(
            server,
            "image_embeds of a grid",
            {
                "type": "image_embeds",
                "image_embeds": {"image_embeds": tensor, "image_grid_thw": tensor},
            },
        ),
        content_case(server, "audio_embeds", {"type": "audio_embeds", "audio_embeds": tensor}),
        content_case(server, "image_pil", {"type": "image_pil", "image_pil": tensor}),
    ]
    refuses(cases)


@pytest.mark.requirement("QVL-SEC-013")
def test_patterns(server: Endpoint, refuses: Refusing) -> None:
    """Patterns and grammars that explode are refused or answered, in time."""
    nested: dict[str, object] = {"type": "string"}
    for _ in range(200):
        nested = {"type": "object", "properties": {"a": nested}}
    outputs = {
        "nested repeats": {"regex": "((a+)+)+$"},
        "counted repeats": {"regex": "((a{1,60}){1,60}){1,60}"},
        "no pattern": {"regex": "(("},
        "many choices": {"choice": [f"choice {n}" for n in range(2000)]},
        "a grammar of itself": {"grammar": 'root ::= root "a" | root root | "a"'},
        "deep schema": {"json": nested},
    }
    refuses(
        [
            fields_case(server, name, answered=True, structured_outputs=value)
            for name, value in outputs.items()
        ],
        form=False,
    )


@pytest.mark.requirement("QVL-SEC-016")
def test_settings_stay_with_their_request(server: Endpoint, evidence: Evidence) -> None:
    """Token settings of one request, out of range among them, do not show in others' answers."""
    items = generate("colour", 6, seed=9) + generate("chat", 6)
    alone = ask_all(server, items)
    letters = [chr(code) for code in range(ord("A"), ord("Z") + 1)]
    settings: list[dict[str, object]] = [
        {"logit_bias": {str(token): -100 for token in range(1, 200)}},
        {"logit_bias": {"99999999": 100}},
        {"bad_words": [*letters, *map(str.lower, letters), "\U0010ffff"]},
        {"bad_words": [""]},
        {"allowed_token_ids": [1, 2, 3]},
        {"allowed_token_ids": [10**9]},
        {"stop_token_ids": [10**9, 2**31]},
        {"repetition_penalty": 1.9, "presence_penalty": 2.0},
        {"temperature": 2.0, "seed": 1},
        {"min_tokens": 30},
    ]
    odd = [
        fields_case(server, f"setting {number}", answered=True, **{"max_tokens": 32, **each})
        for number, each in enumerate(settings)
    ]
    among = _beside(server, odd * 2, items)
    evidence.record(alone=alone, among=among)
    different = [
        f"{item.id}: alone {one!r}, among others {other!r}"
        for item, one, other in zip(items, alone, among, strict=True)
        if item.accepts(one) and not item.accepts(other)
    ]
    assert not different, "expected right answers to stay right\n  " + "\n  ".join(different[:5])
    check_still_serves(server, "odd settings")


def _beside(server: Endpoint, cases: list[Case], items: list[Item]) -> list[str]:
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send_all, server, cases)
        answers = ask_all(server, items)
        sent.result()
    return answers
