from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from pytest_qwenvl.report.junit import LONGEST_REASON, properties_of
from tests.report.records import MODEL, SERVE, result

pytest_plugins = ["pytester"]


def test_properties_say_what_was_judged() -> None:
    assert dict(properties_of(result(outcome="FAIL", reason="\nexpected 400\nsaw 200"))) == {
        "qwenvl_requirement": "QVL-SRV-001",
        "qwenvl_level": "core",
        "qwenvl_group": "serve",
        "qwenvl_outcome": "FAIL",
        "qwenvl_model": MODEL,
        "qwenvl_deployment": SERVE,
        "qwenvl_reason": "expected 400",
    }
    assert "qwenvl_reason" not in dict(properties_of(result()))


def test_long_reason_is_cut() -> None:
    reason = dict(properties_of(result(outcome="FAIL", reason="x" * 10_000)))["qwenvl_reason"]
    assert len(reason) == LONGEST_REASON


def test_they_stand_in_pytests_own_junit_file(pytester: pytest.Pytester) -> None:
    properties = properties_of(result(outcome="FAIL", reason='<b> & "quotes" \x00 \x1b[31m'))
    pytester.makeconftest(
        f"""
        def pytest_runtest_setup(item):
            item.user_properties.extend({properties!r})
        """
    )
    pytester.makepyfile("def test_it(): pass")
    done = pytester.runpytest_subprocess("--junitxml=out.xml", "-p", "no:cacheprovider")
    assert done.ret == 0
    found = {
        element.attrib["name"]: element.attrib["value"]
        for element in ElementTree.parse(pytester.path / "out.xml").iter("property")
    }
    assert found["qwenvl_requirement"] == "QVL-SRV-001"
    assert found["qwenvl_reason"].startswith('<b> & "quotes"')
