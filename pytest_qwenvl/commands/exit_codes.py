"""What the exit codes of ``pytest-qwenvl`` mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_qwenvl.report.results import Verdict

EXIT_CONFORMANT = 0
EXIT_NON_CONFORMANT = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3


def code_of(verdict: Verdict) -> int:
    """The exit code of a verdict."""
    codes = {
        "CONFORMANT": EXIT_CONFORMANT,
        "NON-CONFORMANT": EXIT_NON_CONFORMANT,
        "PARTIAL": EXIT_PARTIAL,
    }
    return codes[verdict.value]
