"""Tests whose results are carried over: they are shown and counted, and nothing of them runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from pytest_qwenvl.report.junit import properties_of
from pytest_qwenvl.report.results import Outcome, Result

# Marks that would skip a test, fail it for passing, or set something up for it.
_NOT_TAKEN = frozenset({"skip", "skipif", "xfail", "usefixtures", "parametrize"})


class CarriedItem(pytest.Item):
    """Stands in a run for a test whose result is carried over; it has no fixtures.

    It has the name, the marks and the parameters of the test, so that what selects, orders,
    distributes and counts tests treats it as one.

    Args:
        original: the test.
        result: what an earlier run found.
    """

    def __init__(self, *, original: pytest.Item, result: Result, **more: Any) -> None:
        super().__init__(**more)
        self.result = result
        self.own_markers = [it for it in original.own_markers if it.name not in _NOT_TAKEN]
        self._original = original
        callspec = getattr(original, "callspec", None)
        if callspec is not None:
            self.callspec = callspec

    def runtest(self) -> None:
        """End as the test did."""
        if self.result.outcome in (Outcome.SKIPPED, Outcome.UNSUPPORTED):
            pytest.skip(self.result.reason)

    def reportinfo(self) -> Any:
        """Where the test is."""
        return self._original.reportinfo()


def put_carried(items: list[pytest.Item], kept: Mapping[str, Result]) -> None:
    """Replace, in place, every test with a result in ``kept``, by node id."""
    for position, item in enumerate(items):
        result = kept.get(item.nodeid)
        if result is not None and item.parent is not None:
            items[position] = CarriedItem.from_parent(
                item.parent, name=item.name, original=item, result=result
            )


def attach_carried(item: CarriedItem, report: pytest.TestReport) -> dict[str, Any]:
    """Put on a carried-over test's report what JUnit shows, and give what the controller needs.

    The result itself is in the run's record from the beginning, and is not added again.
    """
    if report.when != "call":
        return {}
    result = item.result
    properties = properties_of(result)
    report.user_properties += properties
    item.user_properties += properties
    if result.outcome is Outcome.WAIVED:
        report.outcome = "skipped"
        report.wasxfail = result.waiver
    return {"outcome": result.outcome.value, "carried_over": True}


def by_test(results: Iterable[Result]) -> dict[str, Result]:
    """Results by the node ids of their tests."""
    return {result.test: result for result in results}
