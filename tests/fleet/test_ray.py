"""Fleets on Ray nodes of this machine: what dies in the middle is run again, and nothing is left.

The suite has a test that waits for a file, so that whatever is killed is killed in the middle.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pytest_qwenvl.report.gating import judge_again
from pytest_qwenvl.report.reading import read_report
from pytest_qwenvl.report.results import RunRecord, Verdict
from tests.engines.support import PATIENCE, wait_until
from tests.fleet.ray_nodes import Nodes, started
from tests.plugin.suite import Suite

WAITS = """
import time
from pathlib import Path

@pytest.mark.serve
@pytest.mark.last
@pytest.mark.requirement("QVL-LAT-001")
def test_waits(server, deployment):
    while deployment.profile.name == "alpha" and not Path("go").exists():
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    its = Suite(tmp_path_factory.mktemp("fleet") / "checkout")
    for name in ("alpha", "beta"):
        its.profile(name)
    path = its.suite / "test_suite.py"
    text = path.read_text()
    path.write_text(text[: text.index("@pytest.mark.latency")] + WAITS)
    return its


@pytest.fixture(scope="module")
def nodes(suite: Suite) -> Iterator[Nodes]:
    log = suite.folder / "nodes.log"
    with started(1, 1, log=log, environment=suite.environment) as its:
        yield its
    wait_until(lambda: suite.processes() == [], "the end of every process of the cluster")


class Fleet:
    """A fleet under way."""

    def __init__(self, suite: Suite, nodes: Nodes, report: Path, *arguments: str) -> None:
        self.suite = suite
        self.report = report
        self.log = report.with_suffix(".log")
        self.go = suite.folder / "go"
        command = [sys.executable, "-m", "pytest_qwenvl.cli", "fleet", "--address", nodes.address]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *arguments, "--", "-m", "serve", f"--conformance-report={report}"],
                cwd=suite.folder,
                env=suite.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, text: str, times: int = 1) -> None:
        def there() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.log.read_text().count(text) >= times

        wait_until(there, f"{text!r} in {self.log}")

    def wait_until_alpha_waits(self) -> str:
        """Until alpha has judged two requirements and beta is over; gives alpha's host."""
        self.wait_for("fleet: beta/serve-1npu: CONFORMANT")
        wait_until(lambda: self.judged() >= 3, "three results of alpha")
        lines = (self.report / "attempts.jsonl").read_text().splitlines()
        return str([its for its in map(json.loads, lines) if its["model"] == "alpha"][-1]["node"])

    def judged(self) -> int:
        """Results of alpha in the folder of its attempt."""
        files = self.suite.folder.glob("tmp/qwenvl-fleet-*/report/results.jsonl")
        lines = [path.read_text().splitlines()[1:] for path in files]
        return sum('"model":"alpha"' in line for its in lines for line in its)

    def end(self) -> int:
        self.go.touch()
        return self.process.wait(PATIENCE)

    def record(self) -> RunRecord:
        return judge_again(read_report(self.report)).run

    def nothing_is_left(self) -> None:
        """Neither a child pytest, an engine nor a folder of any attempt."""

        def left() -> list[str]:
            found = [str(path) for path in (self.suite.folder / "tmp").glob("qwenvl-fleet-*")]
            for process in psutil.process_iter(["cmdline"]):
                line = " ".join(process.info["cmdline"] or [])
                if str(self.suite.folder) in line and "ray" not in line:
                    found.append(line)
            return found

        wait_until(lambda: left() == [], "the end of everything of the fleet")


@pytest.fixture
def begin(suite: Suite, nodes: Nodes, tmp_path: Path) -> Iterator[object]:
    running: list[Fleet] = []

    def begin(*arguments: str) -> Fleet:
        running.append(Fleet(suite, nodes, tmp_path / "report", *arguments))
        return running[-1]

    yield begin
    for its in running:
        if its.process.poll() is None:
            its.process.kill()
            its.process.wait(PATIENCE)
        its.go.unlink(missing_ok=True)


def test_a_node_dies_in_the_middle(begin, nodes):
    fleet = begin()
    victim = fleet.wait_until_alpha_waits()
    nodes.kill(victim)
    # For the tests that follow.
    nodes.add(1)
    fleet.wait_for("fleet: alpha/serve-1npu: attempt 2 goes to")
    assert fleet.end() == 0, fleet.log.read_text()
    record = fleet.record()
    assert record.verdict is Verdict.CONFORMANT and record.scope == "-m serve"
    assert {(its.model, its.requirement) for its in record.results} == {
        (model, name)
        for model in ("alpha", "beta")
        for name in ("QVL-SRV-001", "QVL-SRV-002", "QVL-LAT-001")
    }
    attempts = [its for its in record.attempts if its.model == "alpha"]
    assert [(its.number, its.outcome) for its in attempts] == [(1, "lost"), (2, "taken")]
    assert attempts[0].node == victim != attempts[1].node
    assert attempts[0].reason.startswith("NodeDiedError: ")
    # What the head had heard of; the node may have died before it could tell of the last ones.
    heard = attempts[0].judged
    assert 0 <= heard <= 3
    assert any(f"of its {heard} results (of 3) none counts" in note for note in record.notes)
    fleet.nothing_is_left()


def test_a_task_is_killed(begin):
    fleet = begin("--attempts=3")
    fleet.wait_until_alpha_waits()
    tasks = [
        its
        for its in psutil.process_iter(["cmdline"])
        if "ray::qwenvl alpha" in " ".join(its.info["cmdline"] or [])
    ]
    assert len(tasks) == 1
    tasks[0].kill()
    fleet.wait_for("fleet: alpha/serve-1npu: attempt 2 goes to")
    assert fleet.end() == 0, fleet.log.read_text()
    record = fleet.record()
    assert record.verdict is Verdict.CONFORMANT
    assert [its.outcome for its in record.attempts if its.model == "alpha"] == ["lost", "taken"]
    fleet.nothing_is_left()


def test_ctrl_c_ends_the_children(begin):
    fleet = begin()
    fleet.wait_until_alpha_waits()
    fleet.process.send_signal(signal.SIGINT)
    assert fleet.process.wait(PATIENCE) == 3, fleet.log.read_text()
    fleet.nothing_is_left()
    record = fleet.record()
    assert record.verdict is Verdict.PARTIAL and "Ctrl-C" in record.verdict_sentence
    assert {its.model for its in record.results} == {"beta"}
    assert "Traceback" not in fleet.log.read_text()


def test_the_head_is_lost_and_another_goes_on(begin):
    fleet = begin()
    fleet.wait_until_alpha_waits()
    os.killpg(fleet.process.pid, signal.SIGKILL)
    fleet.process.wait(PATIENCE)
    fleet.nothing_is_left()
    assert fleet.record().verdict is Verdict.PARTIAL
    again = begin("--resume")
    assert again.end() == 0, again.log.read_text()
    record = again.record()
    assert record.verdict is Verdict.CONFORMANT
    assert [(its.model, its.number, its.outcome) for its in record.attempts] == [
        ("alpha", 1, "lost"),
        ("beta", 1, "taken"),
        ("alpha", 2, "taken"),
    ]
    assert record.attempts[0].reason == "the head was lost while it ran"
    assert "beta/serve-1npu: kept from attempt 1" in again.log.read_text()


def test_a_cluster_without_devices(begin):
    fleet = begin("--cpu-resource=nobody_has_it")
    assert fleet.end() == 2
    said = " ".join(fleet.log.read_text().split())
    assert "none with nobody_has_it (they have: " in said and "qwenvl_cpu_device" in said
    assert not fleet.report.exists()
