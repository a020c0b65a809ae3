"""What a measurement comes to: an outcome, one sentence, and the numbers it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_qwenvl.report.results import Outcome


@dataclass(frozen=True)
class Judgement:
    """The outcome of judging one measurement.

    Attributes:
        outcome: PASS, FAIL, INCONCLUSIVE, INVALID, or SKIPPED for what is reported only.
        sentence: what was measured against what, and what it would take to say more.
        evidence: the numbers behind the sentence; JSON values only.
    """

    outcome: Outcome
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
