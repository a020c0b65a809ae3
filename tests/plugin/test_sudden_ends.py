"""Ctrl-C and SIGKILL of pytest in every phase: nothing is left, nothing of others is touched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import pytest

from tests.engines.support import is_alive, wait_until
from tests.plugin.suite import Running, Suite

# Phase -> (defects, options of the profile, log, what it says then, requirements judged so far).
PHASES = {
    "starting": (["hangs", "has-family"], {}, "serve-1npu/server.log", "Starting to load", set()),
    "in a test": (
        ["silent-on-describe", "has-family"],
        {},
        "serve-1npu/server.log",
        "asked to describe",
        {"QVL-SRV-001", "QVL-SRV-002"},
    ),
    "measuring": (
        ["has-family"],
        {"latency": True},
        "serve-1npu/bench-text/bench.log",
        "2%|",
        {"QVL-SRV-001", "QVL-SRV-002"},
    ),
}
Begin = Callable[[str], Running]


@pytest.fixture
def begin(suite: Suite) -> Iterator[Begin]:
    started: list[Running] = []

    def begin(phase: str) -> Running:
        defects, options, log, text, _ = PHASES[phase]
        suite.profile("alpha", *defects, **options)
        running = suite.start()
        started.append(running)
        running.wait_for(f"alpha/{log}", text)
        return running

    yield begin
    for running in started:
        running.end()


@pytest.fixture
def bystander(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Suite, Running]]:
    """Another run on the same host, in the middle of a test."""
    other = Suite(tmp_path_factory.mktemp("other") / "checkout")
    other.profile("beta", "silent-on-describe")
    running = other.start()
    try:
        running.wait_for("beta/serve-1npu/server.log", "asked to describe")
        yield other, running
    finally:
        running.end()


def judged(suite: Suite) -> set[str]:
    """Requirements with a result on the disk; the first line of the file is its header."""
    path = suite.report / "results.jsonl"
    lines = path.read_text().splitlines()[1:] if path.exists() else []
    return {json.loads(line)["requirement"] for line in lines}


def check_report(suite: Suite, phase: str, host: bool = True) -> None:
    report = suite.read_report()
    # Workers take the largest scope first: the host's own requirement may still be waiting.
    assert judged(suite) >= ({"QVL-ENV-001"} if host else set()) | PHASES[phase][-1]
    assert {result["requirement"] for result in report["results"]} <= judged(suite)
    assert report["verdict"] != "CONFORMANT"


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c(suite, begin, phase):
    running = begin(phase)
    assert running.interrupt() == 2, running.log.read_text()
    assert suite.processes() == []
    check_report(suite, phase)
    report = suite.read_report()
    assert "Ctrl-C" in report["interrupted"]
    assert "Ctrl-C" in report["verdict_sentence"]
    assert "KeyboardInterrupt" in running.log.read_text()
    assert report["exit_status"] == 2


@pytest.mark.parametrize("phase", PHASES)
def test_sigkill(suite, begin, phase, bystander):
    other, other_run = bystander
    family = other.processes()
    running = begin(phase)
    wait_until(lambda: len(suite.processes()) >= 5, "the start of the whole family")
    running.kill()
    wait_until(lambda: suite.processes() == [], "the end of everything the run had started")
    check_report(suite, phase)
    assert not suite.read_report()["complete"]
    assert all(is_alive(pid) for pid in family)
    assert other_run.process.poll() is None


def test_the_next_run_gets_the_devices_of_a_killed_one(suite, begin):
    begin("in a test").kill()
    suite.profile("alpha")
    done = suite.run("--npus=1", f"--conformance-report={suite.report}")
    assert done.code == 0, done.all
    assert suite.read_report()["complete"]


def test_a_killed_worker_leaves_no_engine(suite, begin):
    suite.profile("alpha", "silent-on-describe", "has-family")
    running = Running(suite, "-n1", f"--conformance-report={suite.report}")
    try:
        running.wait_for("alpha/serve-1npu/server.log", "asked to describe")
        # Results come to the controller a little later than the worker goes on.
        wait_until(lambda: "QVL-SRV-002" in judged(suite), "the result of the test before")
        os.kill(running.process.pid, 9)
        running.process.wait()
        wait_until(lambda: suite.processes() == [], "the end of worker and engine")
    finally:
        running.end()
    check_report(suite, "in a test", host=False)
