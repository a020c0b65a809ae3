"""Log probabilities: as many as tokens, possible numbers, the answer's own text."""

from __future__ import annotations

import pytest

from conformance.asking import choice_of, text_of, tokens_of
from conformance.exchanges import COUNTING, OPEN_QUESTIONS, answers_of, asking, logprobs_of
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.logprobs import text_findings, value_findings

pytestmark = pytest.mark.openai

TOP = 3


@pytest.mark.requirement("QVL-OAI-019")
def test_logprobs_count(server: Endpoint, evidence: Evidence) -> None:
    """One entry a completion token, in whole and cut answers; null when not asked for."""
    bodies = [
        asking(server, COUNTING, max_tokens=9, logprobs=True),
        asking(server, "Say hello.", logprobs=True, top_logprobs=TOP),
        asking(server, COUNTING, max_tokens=3, logprobs=False),
        asking(server, COUNTING, max_tokens=3),
    ]
    *asked, refused, silent = answers_of(server, bodies, evidence)
    for answer in asked:
        entries, written = len(logprobs_of(answer)), tokens_of(answer, "completion_tokens")
        assert entries == written, (
            f"expected as many entries as usage.completion_tokens {written}, seen {entries}"
        )
    for answer in (refused, silent):
        seen = choice_of(answer).get("logprobs")
        assert seen is None, f"logprobs were not asked for: expected null, seen {str(seen)[:300]}"


@pytest.mark.requirement("QVL-OAI-020")
def test_logprobs_values(server: Endpoint, evidence: Evidence) -> None:
    """Numbers that probabilities can have, in the order of likelihood."""
    bodies = [
        asking(server, question, max_tokens=12, logprobs=True, top_logprobs=TOP)
        for question in (COUNTING, *OPEN_QUESTIONS[:3])
    ]
    for answer in answers_of(server, bodies, evidence):
        findings = value_findings(logprobs_of(answer), TOP)
        assert not findings, "\n".join(str(finding) for finding in findings[:10])


@pytest.mark.requirement("QVL-OAI-021")
def test_logprobs_text(server: Endpoint, evidence: Evidence) -> None:
    """The tokens are the text, the bytes are the tokens."""
    body = asking(server, COUNTING, max_tokens=24, logprobs=True, top_logprobs=TOP)
    (answer,) = answers_of(server, [body], evidence)
    written = tokens_of(answer, "completion_tokens")
    assert written == 24, f"expected an answer cut after 24 tokens, seen {written}"
    findings = text_findings(logprobs_of(answer), text_of(answer))
    assert not findings, "\n".join(str(finding) for finding in findings[:10])
