"""A run that is killed in the middle and continued: nothing proven is lost, nothing repeated."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.engines.support import wait_until
from tests.plugin.suite import Running, Suite


def judged(suite: Suite) -> list[dict[str, Any]]:
    path = suite.report / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_sigkill_loses_at_most_the_requirement_under_way(
    suite: Suite, workers: tuple[str, ...]
) -> None:
    suite.profile("alpha", "silent-on-describe", "has-family")
    running = Running(suite, *workers, f"--conformance-report={suite.report}")
    try:
        running.wait_for("alpha/serve-1npu/server.log", "asked to describe")
        wait_until(lambda: len(judged(suite)) >= 2, "the results of the tests before")
        running.kill()
        wait_until(lambda: suite.processes() == [], "the end of everything the run had started")
    finally:
        running.end()
    assert suite.read_report()["verdict"] != "CONFORMANT"
    before = judged(suite)
    # A line that the kill cut off.
    with (suite.report / "results.jsonl").open("a") as file:
        file.write(json.dumps(before[-1])[:-40])
    suite.profile("alpha", "has-family")
    done = suite.run(*workers, f"--resume={suite.report}")
    report = suite.read_report()
    # The stand-in's defects are variables of its environment: what it was asked then is void.
    assert "alpha/serve-1npu runs again: variable STAND_IN silent-on-describe" in done.out
    assert done.code == 0, done.all
    assert report["verdict"] == "CONFORMANT"
    assert any("the last line was cut off" in note for note in report["notes"])


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_only_what_was_not_judged_runs(suite: Suite, workers: tuple[str, ...]) -> None:
    suite.profile("alpha")
    (suite.folder / "conftest.py").write_text(
        "import os, pytest, signal\n"
        "from pathlib import Path\n"
        "@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_runtest_call(item):\n"
        "    if 'Describe' in item.nodeid and not os.path.exists('killed'):\n"
        "        Path('killed').touch()\n"
        "        controller = os.getppid() if 'PYTEST_XDIST_WORKER' in os.environ else 0\n"
        "        os.kill(controller or os.getpid(), signal.SIGKILL)\n"
    )
    killed = suite.run(*workers, f"--conformance-report={suite.report}")
    assert killed.code == -9
    wait_until(lambda: suite.processes() == [], "the end of everything the run had started")
    before = judged(suite)
    done = suite.run(*workers, f"--resume={suite.report}")
    report = suite.read_report()
    assert done.code == 0, done.all
    assert report["verdict"] == "CONFORMANT"
    assert len(report["results"]) == 4
    again = [it["test"] for it in report["results"] if not it["carried_over"]]
    assert {it["test"] for it in before} <= {
        it["test"] for it in report["results"] if it["carried_over"]
    }
    under_way = ["suite/test_suite.py::test_answers[alpha/serve-1npu-Describe it.]"]
    # A worker outlives its controller by a moment, in which it may write down what it has found.
    assert again == under_way or (workers and not again)
    assert not (suite.report / "workers").exists()
    assert not report["interrupted"]
    assert os.path.exists(suite.report / "report.html")


def test_a_second_kill_keeps_what_the_first_run_proved(suite: Suite) -> None:
    suite.profile("alpha")
    (suite.folder / "conftest.py").write_text(
        "import os, pytest, signal\n"
        "def pytest_collection_finish(session):\n"
        "    if 'KILL' in os.environ:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert suite.run(f"--conformance-report={suite.report}").code == 0
    first = suite.read_report()
    assert suite.run(f"--resume={suite.report}", KILL="1").code == -9
    killed = suite.read_report()
    assert killed["run_id"] != first["run_id"]
    assert killed["verdict"] == "PARTIAL"
    assert len(judged(suite)) == 4
    assert suite.run(f"--resume={suite.report}").code == 0
    last = suite.read_report()
    assert last["verdict"] == "CONFORMANT"
    assert {it["carried_over"]["run_id"] for it in last["results"]} == {first["run_id"]}
