"""Log probabilities that cannot be are found; those of a real answer are not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from pytest_qwenvl.protocol.logprobs import legacy_findings, text_findings, value_findings


def entry(token: str, logprob: float, *others: tuple[str, float]) -> dict[str, Any]:
    ranked = [{"token": token, "logprob": logprob, "bytes": list(token.encode())}]
    ranked += [{"token": it, "logprob": value, "bytes": []} for it, value in others]
    return {**ranked[0], "top_logprobs": ranked}


# Beginning of vLLM 0.32.0's answer to "Count from 1 to 30."; the third token is all but certain.
REAL = [
    entry("1", -0.000157, ("0", -9.84), ("2", -10.53)),
    entry(",", -0.0000417, ("1", -11.42), ("0", -12.38)),
    entry(" ", 0.0, ("Circle", -19.2), ("<|im_end|>", -19.25)),
]
TEXT = "1, "
Edit = Callable[[list[dict[str, Any]]], object]


def test_real_entries_are_clean() -> None:
    assert value_findings(REAL, 3) == []
    assert text_findings(REAL, TEXT) == []


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content[0].update(logprob=0.5),
        lambda content: content[0].update(logprob=-9.84),
        lambda content: content[1]["top_logprobs"].reverse(),
        lambda content: content[1]["top_logprobs"].pop(),
        lambda content: content[1].update(top_logprobs=[]),
        lambda content: content[2]["top_logprobs"][1].update(logprob=-0.01),
        lambda content: content[2]["top_logprobs"][1].update(logprob=12.0),
    ],
)
def test_impossible_numbers_are_found(edit: Edit) -> None:
    content = copy.deepcopy(REAL)
    edit(content)
    found = value_findings(content, 3)
    assert found
    assert {each.about for each in found} == {"logprobs"}


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.pop(),
        lambda content: content[0].update(token="2"),
        lambda content: content[0].update(bytes=None),
        lambda content: content[0].update(bytes=[50]),
        lambda content: content.insert(0, entry("<|im_start|>", -1.0)),
    ],
)
def test_tokens_beside_the_text_are_found(edit: Edit) -> None:
    content = copy.deepcopy(REAL)
    edit(content)
    assert text_findings(content, TEXT)


LEGACY: dict[str, Any] = {
    "tokens": ["1", ",", " "],
    "token_logprobs": [-0.1, -0.2, -0.3],
    "text_offset": [0, 1, 2],
    "top_logprobs": [{"1": -0.1, "2": -3.0}, {",": -0.2, ".": -2.0}, {" ": -0.3, "\n": -4.0}],
}


def test_real_lists_are_clean() -> None:
    assert legacy_findings(LEGACY, TEXT, top=2) == []


@pytest.mark.parametrize(
    "edit",
    [
        {"tokens": ["1", ","]},
        {"tokens": ["1", ",", "x"]},
        {"text_offset": [0, 0, 0]},
        {"text_offset": [5, 6, 7]},
        {"token_logprobs": [-0.1, 0.2, -0.3]},
        {"token_logprobs": [-0.1, None, -0.3]},
        {"top_logprobs": [{}, {}, {}]},
        {"top_logprobs": [None, None, None]},
        {"top_logprobs": [{"1": -0.1}, {",": -0.2, ".": -0.1}, {" ": -0.3}]},
        {"top_logprobs": [{"2": -3.0}, {",": -0.2}, {" ": -0.3}]},
    ],
)
def test_impossible_lists_are_found(edit: dict[str, Any]) -> None:
    assert legacy_findings(LEGACY | edit, TEXT, top=2)
