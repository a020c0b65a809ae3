"""What no schema says of a body: the model asked for, a plausible time, indices, adding up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pytest_qwenvl.protocol.findings import Finding, Kind, shorten

if TYPE_CHECKING:
    from openai.types import CompletionUsage

CLOCK_DIFFERENCE = 86_400.0
"""Seconds by which ``created`` may differ from the reader's clock: another host's clock may be
wrong, milliseconds in place of seconds may not pass."""


class Identified(Protocol):
    """A completion or a chunk of one."""

    id: str
    created: int
    model: str


def identity_findings(body: Identified, model: str | None, now: float | None) -> list[Finding]:
    """What is wrong with an answer's ``id``, ``created`` and ``model``.

    Args:
        body: the answer.
        model: the name that was asked for; not compared when None.
        now: seconds since the epoch; the clock when None.
    """
    findings = created_findings(body.created, now, "created")
    if not body.id.strip():
        findings.append(Finding("id", "an identifier", shorten(body.id), about="id"))
    if model is not None and body.model != model:
        findings.append(Finding("model", repr(model), shorten(body.model), about="model"))
    return findings


def created_findings(created: int, now: float | None, path: str) -> list[Finding]:
    """A finding where ``created`` is no time near ``now`` (the clock when None)."""
    current = time.time() if now is None else now
    if abs(created - current) <= CLOCK_DIFFERENCE:
        return []
    expected = f"seconds since the epoch, about {current:.0f}"
    return [Finding(path, expected, str(created), about="created")]


def index_findings(indices: Sequence[int], expected: int) -> list[Finding]:
    """A finding where the choices' indices are not 0 to ``expected - 1``, each once."""
    if sorted(indices) == list(range(expected)):
        return []
    wanted = f"indices 0 to {expected - 1}, each once"
    return [Finding("choices", wanted, shorten(indices), about="choices")]


def required_usage_findings(usage: CompletionUsage | None, body: dict[str, Any]) -> list[Finding]:
    """What is wrong with the token counts of a whole answer, which must have them.

    The specification leaves usage optional; without it no token count can be checked.
    """
    if usage is not None:
        return usage_findings(usage)
    kind: Kind = "null" if "usage" in body else "missing"
    return [Finding("usage", "token counts", kind, kind=kind, about="usage")]


def usage_findings(usage: CompletionUsage, path: str = "usage") -> list[Finding]:
    """What is wrong with token counts: negative ones, or a total that is not the sum."""
    findings = []
    prompt, completion, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens

    def object_to(key: str, expected: str, seen: int) -> None:
        findings.append(Finding(f"{path}.{key}", expected, str(seen), about="usage"))

    if prompt < 1:
        object_to("prompt_tokens", "1 or more", prompt)
    if completion < 0:
        object_to("completion_tokens", "0 or more", completion)
    if prompt + completion != total:
        object_to("total_tokens", f"{prompt} + {completion} = {prompt + completion}", total)
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details is not None else None
    if cached is not None and not 0 <= cached <= prompt:
        object_to("prompt_tokens_details.cached_tokens", f"0 to {prompt}", cached)
    return findings
