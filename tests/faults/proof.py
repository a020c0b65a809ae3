"""When a verdict CONFORMANT is right after a fault: held against the record, not against hope.

A run that was hit may be CONFORMANT only if all of these hold:

1. its record says that it came to its end by itself: complete, never interrupted, exit status 0.
   That record is written when everything is judged; what ends pytest after it changes no verdict;
2. every requirement of the suite has as many results as a run without a fault has, and each is
   PASS, whatever the record says was planned;
3. where the fault ended an engine or a measuring program, no result rests on an answer that was
   asked for from that process after it was hit.

``pytest-qwenvl gate`` on what is left must say the same as this rule, and exit 0 in no other case.
pytest itself may exit 0 in no other case either; that it exits otherwise, hit after its record was
complete, is on the safe side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from pytest_qwenvl.report.results import Outcome, RunRecord
from tests.faults.suite import RESULTS


def why_not_conformant(record: RunRecord, ended: Collection[int], hit: float) -> str:
    """The first reason why this run may not be called CONFORMANT; empty when it may.

    Args:
        ended: ids of the processes that the fault ended.
        hit: when, by the monotonic clock.
    """
    if not record.complete or record.interrupted:
        return f"not complete, or interrupted ({record.interrupted})"
    if record.exit_status != 0:
        return f"exit status {record.exit_status}"
    passed = Counter(it.requirement for it in record.results if it.outcome is Outcome.PASS)
    if len(record.results) != sum(RESULTS.values()) or passed != RESULTS:
        return f"{len(record.results)} results, of which passed {dict(passed)}"
    for result in record.results:
        if result.evidence.get("pid") in ended and result.evidence["asked"] > hit:
            return f"{result.test} rests on process {result.evidence['pid']}, which was dead"
    return ""
