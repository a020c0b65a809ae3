"""Strict reading of the answers of ``/v1/completions``, whole and chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.protocol.body import nulls, read_json, validate
from pytest_qwenvl.protocol.findings import Deviation, Finding, undocumented
from pytest_qwenvl.protocol.meaning import (
    identity_findings,
    index_findings,
    required_usage_findings,
    usage_findings,
)

if TYPE_CHECKING:
    from openai.types import Completion

_NOT_NULL = (
    "system_fingerprint",
    "usage.completion_tokens_details",
    "usage.prompt_tokens_details",
)


def read_completion(
    body: bytes | str,
    *,
    deviations: Sequence[Deviation] = (),
    model: str | None = None,
    choices: int = 1,
    now: float | None = None,
) -> tuple[Completion | None, list[Finding]]:
    """Read the body of an answer to a completions request that was not streamed.

    Args:
        body: as it came over the wire.
        deviations: departures that are no findings.
        model: the name that was asked for; not compared when None.
        choices: ``n`` of the request times its prompts.
        now: seconds since the epoch, for the plausibility of ``created``; the clock when None.

    Returns:
        The completion, or None when its form is broken, and everything that is not as it must be.
    """
    from openai.types import Completion

    data, findings = read_json(body)
    if data is None:
        return None, findings
    completion, more = validate(_without_leading_nulls(data), Completion)
    findings += more + nulls(data, _NOT_NULL)
    if completion is not None:
        findings += identity_findings(completion, model, now)
        findings += index_findings([choice.index for choice in completion.choices], choices)
        findings += required_usage_findings(completion.usage, data)
    return completion, undocumented(findings, "text_completion", deviations)


def read_completion_chunk(
    body: bytes | str,
    *,
    deviations: Sequence[Deviation] = (),
    model: str | None = None,
    now: float | None = None,
) -> tuple[Completion | None, list[Finding]]:
    """Read one chunk of a streamed completion by itself.

    OpenAI has no type of its own for it: it is a completion whose ``finish_reason`` is null until
    the last one of its choice, which the type does not allow and every client expects.

    Returns:
        The chunk, its null finish reasons as ``content_filter`` with their place in
        ``unfinished`` (see :func:`unfinished`), and everything that is not as it must be.
    """
    from openai.types import Completion

    data, findings = read_json(body)
    if data is None:
        return None, findings
    chunk, more = validate(_with_finish_reasons(data), Completion)
    findings += more + nulls(data, _NOT_NULL)
    if chunk is not None:
        findings += identity_findings(chunk, model, now)
        if not chunk.choices and chunk.usage is None:
            findings.append(Finding("choices", "a choice, or usage", "neither", about="choices"))
        if chunk.usage is not None:
            findings += usage_findings(chunk.usage)
    return chunk, undocumented(findings, "text_completion", deviations)


def unfinished(data: dict[str, Any]) -> set[int]:
    """Positions of the choices of a decoded chunk that have not ended yet."""
    choices = data.get("choices")
    return {
        position
        for position, choice in enumerate(choices if isinstance(choices, list) else ())
        if isinstance(choice, dict)
        and "finish_reason" in choice
        and choice["finish_reason"] is None
    }


def _with_finish_reasons(data: dict[str, Any]) -> dict[str, Any]:
    open_ones = unfinished(data)
    if not open_ones:
        return data
    choices = [
        choice | {"finish_reason": "content_filter"} if position in open_ones else choice
        for position, choice in enumerate(data["choices"])
    ]
    return data | {"choices": choices}


def _without_leading_nulls(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` without what OpenAI itself sends and its types forbid.

    With ``echo``, nothing comes before the first token: its log probability is null, and so are
    the alternatives to it.
    """
    choices = data.get("choices")
    if not isinstance(choices, list):
        return data
    cleaned = []
    for choice in choices:
        logprobs = choice.get("logprobs") if isinstance(choice, dict) else None
        if isinstance(logprobs, dict):
            first = {
                key: [replacement, *logprobs[key][1:]]
                for key, replacement in (("token_logprobs", 0.0), ("top_logprobs", {}))
                if isinstance(logprobs.get(key), list) and logprobs[key][:1] == [None]
            }
            choice = choice | {"logprobs": logprobs | first}
        cleaned.append(choice)
    return data | {"choices": cleaned}
