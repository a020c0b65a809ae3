"""A played Ascend host with the small suite on it, and what its engines noted of each other."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fixtures.hosts.playing import PlayedHost
from tests.engines.support import PATIENCE, wait_until
from tests.plugin.suite import Done, Suite
from tests.stand_in_engine.occupying import Stay, most_at_once, shared, stays

# A host with as many NPUs as it has.
HOSTS = {"a3-16x910c": 16, "a2-8x910b3": 8}

# Waits, on a served deployment, until as many engines have come to the host's devices as MEET
# says; with GO, until that file exists. Both hold the engine's lease meanwhile.
MEETING = """\
import os, time
from pathlib import Path
import pytest

def wait_until(condition, what):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)

@pytest.mark.serve
def test_meets(server, deployment):
    engines = Path(os.environ["QWENVL_HOST_STATE"], "engines")
    wanted = int(os.environ.get("MEET", "1"))
    wait_until(lambda: len(list(engines.glob("*.jsonl"))) >= wanted, f"{wanted} engines at once")
    if "GO" in os.environ:
        wait_until(lambda: Path(os.environ["GO"]).exists(), "the word to go on")
"""

# What a real run waits for in minutes is a matter of a moment here.
SOON = """\
from pytest_qwenvl.devices import returning, taking
from pytest_qwenvl.devices.lease import DevicePool

DevicePool.__init__.__kwdefaults__["return_seconds"] = 0.5
returning._POLL_SECONDS = 0.1
taking.LOOK_SECONDS = taking.BUSY_LOOK_SECONDS = 0.5
"""


class PlayedSuite(Suite):
    """The small suite on a played host."""

    def __init__(self, folder: Path, recording: str) -> None:
        super().__init__(folder / "checkout")
        self.host = PlayedHost(recording, folder / "host")
        self.environment |= self.host.environment
        self.runs: list[PlayedRun] = []
        (self.suite / "test_meeting.py").write_text(MEETING)
        self.plugin(SOON)

    def plugin(self, text: str) -> None:
        """Put something into the conftest of the suite."""
        path = self.suite / "conftest.py"
        path.write_text((path.read_text() if path.exists() else "") + text)

    def stays(self) -> list[Stay]:
        """Every engine that was on a device."""
        return stays(self.host.state)

    def check_engines(self, engines: int, most: int) -> None:
        """So many came, none met another on its devices, and never more at once than allowed."""
        found = self.stays()
        assert shared(found) == []
        assert len(found) == engines, found
        assert most_at_once(found) <= most

    def begin(self, name: str, *arguments: str, **environment: str) -> PlayedRun:
        """Start a run with a report directory of its own, whose end is not waited for."""
        run = PlayedRun(self, name, arguments, environment)
        self.runs.append(run)
        return run


class PlayedRun:
    """One run on a played host; :func:`end_all` ends it whatever a test found."""

    def __init__(
        self, suite: PlayedSuite, name: str, arguments: tuple[str, ...], environment: dict[str, str]
    ) -> None:
        self.suite = suite
        self.report = suite.folder / f"report-{name}"
        self.log = suite.folder / f"{name}.log"
        command = [sys.executable, "-m", "pytest", "--backend=npu", "-m", "serve", *arguments]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"--conformance-report={self.report}"],
                cwd=suite.folder,
                env={**suite.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def done(self) -> Done:
        """Wait for its end."""
        code = self.process.wait(2 * PATIENCE)
        return Done(code, self.log.read_text(), "")

    def read_report(self) -> dict[str, Any]:
        """Its report as it is now."""
        content: dict[str, Any] = json.loads((self.report / "report.json").read_text())
        return content

    def check_conformant(self, deployments: set[str]) -> None:
        """It ended well, and every deployment's requirements were decided."""
        done = self.done()
        assert done.code == 0, done.all
        report = self.read_report()
        assert report["verdict"] == "CONFORMANT", done.all
        passed = {
            f"{it['model']}/{it['deployment']}"
            for it in report["results"]
            if it["outcome"] == "PASS"
        }
        assert passed == deployments
        started = [f"{it['model']}/{it['deployment']}" for it in report["engines"]]
        assert sorted(started) == sorted(deployments), "each engine once"

    def wait_for_engines(self, count: int) -> None:
        """Until so many engines have come to the host's devices."""

        def there() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return len(self.suite.stays()) >= count

        wait_until(there, f"{count} engines on the host")

    def kill(self) -> None:
        """End it without any chance to clean up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)


def end_all(suite: PlayedSuite) -> None:
    """End every process of a suite that is left."""
    for run in suite.runs:
        run.kill()
    deadline = time.monotonic() + PATIENCE
    while (left := suite.processes()) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
