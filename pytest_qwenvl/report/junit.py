"""What one result says in JUnit XML, through pytest's own ``--junitxml`` (pure)."""

from __future__ import annotations

from pytest_qwenvl.report.results import Result
from pytest_qwenvl.report.verdict import first_line

LONGEST_REASON = 500
"""Characters; the whole reason is in ``report.json`` and in the failure's own text."""


def properties_of(result: Result) -> list[tuple[str, str]]:
    """Properties for ``item.user_properties``: what a CI system can filter and count by.

    The names carry the suite's prefix, since properties of all plugins share one list.
    """
    reason = first_line(result.reason)
    if len(reason) > LONGEST_REASON:
        reason = reason[: LONGEST_REASON - 1] + "…"
    properties = [
        ("qwenvl_requirement", result.requirement),
        ("qwenvl_level", result.level),
        ("qwenvl_group", result.group),
        ("qwenvl_outcome", result.outcome.value),
        ("qwenvl_model", result.model),
        ("qwenvl_deployment", result.deployment),
    ]
    if reason:
        properties.append(("qwenvl_reason", reason))
    if result.carried_over is not None:
        properties.append(("qwenvl_carried_over", result.carried_over.run_id))
    return properties
