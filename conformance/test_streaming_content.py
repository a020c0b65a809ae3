"""What streams bring piece by piece: choices, log probabilities, characters, stop strings."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.asking import chat, text_of
from conformance.exchanges import CHAT, COUNTING, asking, choices_of, logprobs_of
from conformance.streams import USAGE, check_stream, stream, stream_all
from conformance.test_completions import COMPLETIONS, COUNTING_PROMPT
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.chat_schema import read_error
from pytest_qwenvl.protocol.findings import Deviation

pytestmark = pytest.mark.streaming

# Characters of two, three and four bytes, each of several tokens in most vocabularies.
MULTIBYTE = "Größe, émigré, 日本語の文章, 图像理解, 🙂🐘"
# Two greedy computations of one answer may round differently in another batch.
LOGPROB_DIFFERENCE = 0.05


@pytest.mark.requirement("QVL-STR-010")
def test_streamed_choices(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Three choices come whole, each under its index."""
    body = asking(server, COUNTING, max_tokens=12, temperature=1.0, n=3, **USAGE)
    reading = stream(server, body, deviations, evidence)
    check_stream(reading, "choices")
    order = [choice["index"] for chunk in reading.bodies for choice in chunk["choices"]]
    assert set(order) == {0, 1, 2}, f"expected the indices 0 to 2, seen {sorted(set(order))}"
    assert all(reading.texts), f"expected three texts, seen {reading.texts}"


@pytest.mark.requirement("QVL-STR-011")
def test_streamed_logprobs(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """The entries of all chunks are those of the plain answer."""
    fields = {"max_tokens": 16, "logprobs": True, "top_logprobs": 2}
    plain = chat(server, [{"role": "user", "content": COUNTING}], **fields)
    reading = stream(server, asking(server, COUNTING, **fields), deviations, evidence)
    check_stream(reading, "logprobs")
    expected = logprobs_of(plain)
    streamed: list[dict[str, Any]] = []
    for chunk in reading.bodies:
        for choice in chunk["choices"]:
            entries = (choice.get("logprobs") or {}).get("content") or []
            text = choice["delta"].get("content") or ""
            assert "".join(it["token"] for it in entries) == text or not entries, (
                f"expected the chunk's own tokens {text!r}, seen {entries}"
            )
            streamed += entries
    assert [it["token"] for it in streamed] == [it["token"] for it in expected], (
        f"expected the tokens {[it['token'] for it in expected]}, "
        f"seen {[it['token'] for it in streamed]}"
    )
    for here, there in zip(streamed, expected, strict=True):
        assert abs(here["logprob"] - there["logprob"]) <= LOGPROB_DIFFERENCE, (
            f"{here['token']!r}: expected about {there['logprob']}, seen {here['logprob']}"
        )
        assert len(here["top_logprobs"]) == len(there["top_logprobs"]), (
            f"{here['token']!r}: expected {len(there['top_logprobs'])} top_logprobs, "
            f"seen {len(here['top_logprobs'])}"
        )


@pytest.mark.requirement("QVL-STR-012")
def test_characters_are_whole(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Characters of several tokens come whole: forced by a schema with one string."""
    schema = {"enum": [MULTIBYTE]}
    constrained = {"type": "json_schema", "json_schema": {"name": "text", "schema": schema}}
    body = asking(server, "Repeat the text.", max_tokens=128, response_format=constrained)
    reading = stream(server, body, deviations, evidence)
    pieces = [
        choice["delta"].get("content") or ""
        for chunk in reading.bodies
        for choice in chunk["choices"]
    ]
    broken = [piece for piece in pieces if "\ufffd" in piece]
    assert not broken, f"expected whole characters in each chunk, seen {broken[:5]}"
    undecodable = [finding for finding in reading.findings if finding.kind == "json"]
    assert not undecodable, f"expected JSON in UTF-8 in each event, seen {undecodable[0]}"
    seen = reading.text.strip()
    assert seen == f'"{MULTIBYTE}"', f'expected "{MULTIBYTE}", seen {seen!r}'


@pytest.mark.requirement("QVL-STR-013")
def test_stop_string_is_held_back(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """Nothing of a stop string is sent, however many tokens it spans."""
    whole = text_of(chat(server, [{"role": "user", "content": COUNTING}], max_tokens=64))
    assert len(whole) >= 40, f"expected an answer of 40 characters, seen {whole!r}"
    stops = (whole[20:22], whole[19:27], whole[10:31])
    bodies = [asking(server, COUNTING, max_tokens=64, stop=[stop]) for stop in stops]
    for stop, reading in zip(stops, stream_all(server, bodies, deviations, evidence), strict=True):
        expected = whole[: whole.find(stop)]
        assert reading.text == expected, (
            f"{stop=}: expected the text {expected!r} before it, seen {reading.text!r}"
        )


@pytest.mark.requirement("QVL-STR-014")
def test_refusal_is_no_stream(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """A streamed request that cannot be is refused before any stream."""
    good = asking(server, COUNTING, max_tokens=1, stream=True)
    cases = (
        (good | {"temperature": -1}, 400),
        (good | {"top_p": 2}, 400),
        (good | {"model": "no-such-model"}, 404),
        (good | {"max_tokens": 0}, 400),
    )
    for body, status in cases:
        with server.request("POST", CHAT, json=body, stream=True) as response:
            content = response.content
        evidence.append("refusals", {"status": response.status_code, "body": response.text[:1000]})
        named = {key: body[key] for key in ("temperature", "model", "max_tokens")}
        assert response.status_code in (status, 422), (
            f"{named}: expected {status}, seen {response.status_code}: {response.text[:300]}"
        )
        kind = response.headers.get("content-type", "")
        assert kind.startswith("application/json"), f"{named}: expected JSON, seen {kind!r}"
        error, findings = read_error(content, deviations=deviations)
        assert error is not None, f"{named}: expected the error object, seen {findings}"


@pytest.mark.requirement("QVL-STR-017")
def test_streamed_completion(
    server: Endpoint, deviations: tuple[Deviation, ...], evidence: Evidence
) -> None:
    """A completion's stream is well formed, and the completion."""
    body = {
        "model": server.model,
        "prompt": COUNTING_PROMPT,
        "temperature": 0.0,
        "max_tokens": 24,
    }
    response = server.request("POST", COMPLETIONS, json=body)
    assert response.status_code == 200, (
        f"POST {COMPLETIONS}: expected 200, seen {response.status_code}: {response.text[:300]}"
    )
    (plain,) = choices_of(response.json())
    reading = stream(server, body | USAGE, deviations, evidence, COMPLETIONS)
    assert not reading.findings, "in the stream:\n" + "\n".join(
        f"  {it}" for it in reading.findings[:10]
    )
    assert reading.text and reading.text == plain.get("text"), (
        f"expected the plain completion {plain.get('text')!r}, seen {reading.text!r}"
    )
    assert reading.finish_reason == plain.get("finish_reason"), (
        f"expected finish_reason {plain.get('finish_reason')!r}, seen {reading.finish_reason!r}"
    )
    assert reading.usage is not None and reading.usage.completion_tokens == 24, (
        f"expected usage of 24 completion_tokens, seen {reading.usage}"
    )
