"""What a node does with an order, without Ray: a child pytest, its news, and its fragment."""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import replace

import pytest

from pytest_qwenvl import __version__
from pytest_qwenvl.fleet.child import run_order
from pytest_qwenvl.fleet.intake import Intake
from pytest_qwenvl.fleet.orders import Ended, Order, Piece, Said
from pytest_qwenvl.report.reading import read_report


@pytest.fixture
def order(suite, monkeypatch):
    suite.profile("alpha")
    for name in list(os.environ):
        if name not in suite.environment:
            monkeypatch.delenv(name)
    for name, value in suite.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(suite.folder / "tmp"))
    return Order("fleet-1", "alpha", "serve-1npu", 1, 1, "cpu", str(suite.folder), ("-m", "serve"),
                 junit=True, suite_digest="x")  # fmt: skip


def nothing_is_left(suite):
    return list((suite.folder / "tmp").glob("qwenvl-fleet-*")) == []


def test_a_deployment_comes_back_as_a_fragment(order, suite):
    events = list(run_order(order))
    *_, last = events
    assert isinstance(last, Ended) and last.digest, last
    said = [event for event in events if isinstance(event, Said)]
    assert said[-1].judged == 3
    assert any("3 passed" in line for event in said for line in event.lines)
    assert nothing_is_left(suite)
    its = Intake(suite.folder / "merged", "fleet-1", __version__, "0.1",
                 [], "x", {"alpha/serve-1npu": ["alpha/serve-1npu QVL-SRV-002"]})  # fmt: skip
    for event in events:
        if isinstance(event, Piece):
            its.add(order, event.data)
    record = its.finish(order, last.digest)
    assert {result.requirement for result in record.results} == {"QVL-SRV-001", "QVL-SRV-002"}
    folder = its.folder_of(order.id)
    assert {"pytest.log", "junit.xml", "results.jsonl", "engines"} <= set(os.listdir(folder))
    assert read_report(folder).run_id == record.run_id


def test_a_child_that_leaves_no_report_says_why(order, suite):
    events = list(run_order(replace(order, arguments=("--no-such-option",))))
    assert isinstance(events[-1], Ended) and not events[-1].digest
    assert "ended with exit code 4 and left no report" in events[-1].problem
    assert "--no-such-option" in events[-1].problem
    assert nothing_is_left(suite)


def test_a_full_disk_is_an_answer(order, monkeypatch):
    def full(**options: str) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    (event,) = run_order(order)
    assert isinstance(event, Ended) and not event.digest
    assert "No space left on device" in event.problem
