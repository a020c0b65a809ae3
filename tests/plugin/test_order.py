"""Tests that close a deployment come last, in the order that they ask for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_qwenvl.collection import order
from pytest_qwenvl.planning import Plan


class _Item:
    def __init__(self, name: str, requirement: str, *last: Any) -> None:
        self.name = name
        self.marks = {"requirement": pytest.mark.requirement(requirement).mark}
        if last:
            self.marks["last"] = pytest.mark.last(*last[1:]).mark

    def get_closest_marker(self, name: str) -> Any:
        return self.marks.get(name)


def test_a_higher_last_comes_later_whatever_the_group() -> None:
    groups = {"QVL-SRV-001": "serve", "QVL-CON-001": "consistency"}
    items = [
        _Item("again", "QVL-SRV-001", "last", 2),
        _Item("stop", "QVL-SRV-001", "last", 1),
        _Item("offline", "QVL-CON-001", "last"),
        _Item("equal", "QVL-CON-001"),
        _Item("ready", "QVL-SRV-001"),
    ]
    plan = cast(Plan, SimpleNamespace(deployments=()))
    order(cast("list[pytest.Item]", items), plan, groups)
    assert [item.name for item in items] == ["ready", "equal", "offline", "stop", "again"]
