"""What a check of a host comes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a host, and what to do about it.

    Attributes:
        requirement: id in the catalogue.
        seen: what is there, and where it was seen.
        expected: what must be there, and who says so.
        remedy: what puts it right.
    """

    requirement: str
    seen: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        return f"seen {self.seen}; expected {self.expected}; {self.remedy}"


@dataclass(frozen=True)
class Examined:
    """What one check looked at, and what it found.

    A check that cannot tell raises ``InconclusiveError`` instead: not knowing is neither.

    Attributes:
        seen: what was looked at, in half a line.
        findings: empty when all is as it must be.
    """

    seen: str
    findings: tuple[Finding, ...] = ()
