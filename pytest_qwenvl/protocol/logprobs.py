"""Whether the log probabilities of an answer can be: their order, their sum, their tokens.

Entries are those of a chat answer's ``logprobs.content``, decoded, their form already checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_qwenvl.protocol.findings import Finding, shorten

# Engines compute logarithms in single precision and serialise them as they are.
ROUNDING = 1e-4


def value_findings(content: Sequence[Mapping[str, Any]], top: int) -> list[Finding]:
    """What is wrong with the numbers of a greedy answer.

    At temperature 0 the likeliest token is chosen. So at each position ``top_logprobs`` holds
    ``top`` tokens, likeliest first, the chosen one's value leads them, and probabilities are at
    most 1, together too.
    """
    findings = []
    for index, entry in enumerate(content):
        where = f"logprobs.content[{index}]"
        ranked = [each["logprob"] for each in entry["top_logprobs"]]
        total = sum(math.exp(min(value, 1.0)) for value in ranked)
        for wrong, expected, seen in (
            (len(ranked) != top, f"{top} top_logprobs", str(len(ranked))),
            (max([entry["logprob"], *ranked]) > ROUNDING, "logprobs of at most 0", shorten(ranked)),
            (ranked != sorted(ranked, reverse=True), "the likeliest token first", shorten(ranked)),
            (
                bool(ranked) and abs(entry["logprob"] - max(ranked)) > ROUNDING,
                f"the likeliest token chosen, logprob {max(ranked, default=0.0)}",
                f"{entry['token']!r}, logprob {entry['logprob']}",
            ),
            (total > 1 + ROUNDING, "probabilities of at most 1 together", f"{total:.4f}"),
        ):
            if wrong:
                findings.append(Finding(where, expected, seen, about="logprobs"))
    return findings


def text_findings(content: Sequence[Mapping[str, Any]], text: str) -> list[Finding]:
    """What is wrong between the tokens of an answer that ran into ``max_tokens`` and its text.

    Such an answer has no end token, so its tokens are its text, byte for byte; and ``bytes`` are
    the token's in UTF-8. For answers in ASCII: a token that is part of a character has no text.
    """
    findings = []
    for index, entry in enumerate(content):
        encoded = list(entry["token"].encode("utf-8"))
        if entry.get("bytes") != encoded:
            where = f"logprobs.content[{index}].bytes"
            seen = shorten(entry.get("bytes"))
            findings.append(Finding(where, shorten(encoded), seen, about="logprobs"))
    joined = "".join(entry["token"] for entry in content)
    if joined != text:
        expected = f"tokens that are the text {shorten(text)}"
        findings.append(Finding("logprobs.content", expected, shorten(joined), about="logprobs"))
    return findings


def legacy_findings(logprobs: Mapping[str, Any], text: str, top: int) -> list[Finding]:
    """What is wrong with the ``logprobs`` of a ``/v1/completions`` choice that is greedy and cut.

    Its four lists are as long as the tokens, the tokens are the text, each begins at its
    ``text_offset``, and the chosen token's value is the greatest of its ``top_logprobs``.
    """
    tokens, values = logprobs["tokens"], logprobs["token_logprobs"]
    offsets, ranked = logprobs["text_offset"], logprobs["top_logprobs"]
    findings = []

    def object_to(where: str, expected: str, seen: object) -> None:
        findings.append(Finding(where, expected, shorten(seen), about="logprobs"))

    if not len(tokens) == len(values) == len(offsets) == len(ranked):
        object_to(
            "logprobs",
            "four lists of one length",
            [len(tokens), len(values), len(offsets), len(ranked)],
        )
        return findings
    if "".join(tokens) != text:
        object_to("logprobs.tokens", f"tokens that are the text {shorten(text)}", tokens)
    begins = [len("".join(tokens[:index])) for index in range(len(tokens))]
    if offsets != begins:
        object_to("logprobs.text_offset", shorten(begins), offsets)
    for index, (token, value) in enumerate(zip(tokens, values, strict=True)):
        where = f"logprobs.top_logprobs[{index}]"
        if value is None or value > ROUNDING:
            object_to(f"logprobs.token_logprobs[{index}]", "a value of at most 0", value)
        elif ranked[index] is None or not 1 <= len(ranked[index]) <= top + 1:
            object_to(where, f"{top} tokens, or one more", ranked[index])
        elif ranked[index].get(token) != value or max(ranked[index].values()) > value + ROUNDING:
            object_to(where, f"{token!r} with {value} and none likelier", ranked[index])
    return findings
