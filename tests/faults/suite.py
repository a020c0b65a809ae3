"""The small suite that is hit: every kind of process, a few tests, three seconds in all."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.plugin.suite import CATALOGUE, REQUIREMENT, Suite

_PROGRAM = Path(__file__).with_name("program.py")
# Requirement -> group, and what it is about. Each is core: a run that lacks one proves nothing.
REQUIREMENTS = {
    "QVL-ENV-001": ("environment", "The host"),
    "QVL-SRV-001": ("serve", "A server"),
    "QVL-SRV-002": ("serve", "An answer"),
    "QVL-LAT-001": ("latency", "A load"),
    "QVL-ACC-001": ("accuracy", "An evaluation"),
}
# How many results of each a run without a fault has; on the host, or on the one deployment.
RESULTS = dict.fromkeys(REQUIREMENTS, 1) | {"QVL-SRV-002": 3}
TESTS = f"""\
import json, sys, time
import pytest
from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.measuring import empty_directory, run_program

def run(session, planned, lease, name, *arguments):
    directory = empty_directory(session.directory_of(planned) / name)
    result = directory / "result.json"
    launch = Launch((sys.executable, {str(_PROGRAM)!r}, str(result), *arguments), {{}})
    log = directory / "program.log"
    run_program(session, name, planned, launch, lease, log, 30.0, lambda line: None)
    return json.loads(result.read_text())

@pytest.mark.environment
@pytest.mark.requirement("QVL-ENV-001")
def test_host(evidence):
    evidence.record(fine=True)
    time.sleep(0.1)

@pytest.mark.serve
@pytest.mark.deployment_mode("serve")
@pytest.mark.requirement("QVL-SRV-001")
def test_starts(start_server, deployment, evidence):
    asked = time.monotonic()
    server = start_server()
    evidence.record(pid=server.process.pid, asked=asked)
    assert server.model == deployment.profile.name

@pytest.mark.serve
@pytest.mark.requirement("QVL-SRV-002")
@pytest.mark.parametrize("text", ["Hi", "Describe it.", "What is it?"])
def test_answers(server, http, evidence, deployment, text):
    time.sleep(0.1)
    message = {{"role": "user", "content": text}}
    body = {{"model": server.model, "messages": [message], "max_tokens": 4}}
    asked = time.monotonic()
    answer = http("POST", "/v1/chat/completions", json=body, timeout=2.0)
    evidence.record(pid=server.process.pid, asked=asked, status=answer.status_code)
    assert answer.status_code == 200

@pytest.mark.latency
@pytest.mark.requirement("QVL-LAT-001")
def test_load(server, engine_session, deployment, npu_lease, evidence):
    done = run(engine_session, deployment, npu_lease, "bench", "0.3", server.base_url)
    evidence.record(pid=server.process.pid, asked=done["asked"])

@pytest.mark.accuracy
@pytest.mark.requirement("QVL-ACC-001")
def test_evaluation(engine_session, deployment, npu_lease, evidence):
    engine_session.stop()
    done = run(engine_session, deployment, npu_lease, "lm-eval", "0.3")
    evidence.record(**done)
"""
_START_TIMEOUT = 8.0  # seconds; a stand-in that was stopped while it started is given up then


class FaultSuite(Suite):
    """The suite in a folder of its own, with a report directory that can be a disk of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        catalogue = CATALOGUE + "".join(
            REQUIREMENT.format(id=name, group=group, what=what)
            for name, (group, what) in REQUIREMENTS.items()
        )
        (self.suite / "requirements.toml").write_text(catalogue)
        (self.suite / "test_suite.py").write_text(TESTS)
        self.profile("alpha", "in-parts", start_timeout=_START_TIMEOUT)
        self.log = folder / "pytest.log"
        self._mounted = False

    def mount_report(self, mebibytes: int) -> None:
        """Give the report directory a disk of its own, of this size."""
        self.report.mkdir()
        options = f"size={mebibytes}m"
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.report)], check=True
        )
        self._mounted = True

    def begin(self, *arguments: str, cut_off: bool = False) -> subprocess.Popen[bytes]:
        """Start pytest; with ``cut_off`` in a network of its own, of a loopback alone."""
        command = self.command(*arguments, f"--conformance-report={self.report}")
        if cut_off:
            inside = 'ip link set lo up && exec "$@"'
            command = ["unshare", "--net", "sh", "-c", inside, "sh", *command]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def unmount(self) -> None:
        """Take the disk of the report directory away."""
        if self._mounted:
            subprocess.run(["umount", "--lazy", str(self.report)], check=True)
            self._mounted = False

    def remove(self) -> None:
        """Take the folder away, and the disk in it."""
        self.unmount()
        shutil.rmtree(self.folder, ignore_errors=True)


__all__ = ["REQUIREMENTS", "RESULTS", "FaultSuite"]
