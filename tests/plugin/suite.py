"""A small suite of its own with the stand-in engine, and pytest run on it in a child process."""

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

from tests.engines.support import PATIENCE, wait_until
from tests.stand_in_engine.install import (
    clean_environment,
    stand_in_python,
    write_profile,
    write_weights,
)

CATALOGUE = """\
version = "0.1"
"""
REQUIREMENT = """
[[requirement]]
id = "{id}"
group = "{group}"
level = "core"
since = "0.1"
must = "{what} MUST work."
rationale = "a test"
source = "a test"
"""
REQUIREMENTS = {
    "QVL-ENV-001": ("environment", "The host"),
    "QVL-SRV-001": ("serve", "A server"),
    "QVL-SRV-002": ("serve", "An answer"),
    "QVL-LAT-001": ("latency", "A load"),
}
TESTS = """\
import pytest
from pytest_qwenvl.report.results import Outcome

@pytest.mark.environment
@pytest.mark.requirement("QVL-ENV-001")
def test_host(evidence):
    evidence.record(fine=True)

@pytest.mark.serve
@pytest.mark.deployment_mode("serve")
@pytest.mark.requirement("QVL-SRV-001")
def test_starts(start_server, deployment):
    assert start_server().model == deployment.profile.name

@pytest.mark.serve
@pytest.mark.requirement("QVL-SRV-002")
@pytest.mark.parametrize("text", ["Hi", "Describe it."])
def test_answers(server, http, evidence, deployment, text):
    message = {"role": "user", "content": text}
    body = {"model": server.model, "messages": [message], "max_tokens": 4}
    answer = http("POST", "/v1/chat/completions", json=body)
    evidence.record(status=answer.status_code)
    assert answer.status_code == 200

@pytest.mark.latency
@pytest.mark.requirement("QVL-LAT-001")
def test_load(bench, latency_workload, deployment):
    bench(latency_workload)
"""


class Suite:
    """A folder with a suite, profiles, weights and an engine; ``run`` runs pytest there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suite = folder / "suite"
        self.profiles = folder / "profiles"
        self.report = folder / "report"
        self.locks = folder / "tmp" / "pytest-qwenvl-leases"
        for directory in (self.suite, self.profiles, folder / "tmp"):
            directory.mkdir(parents=True)
        self.weights = write_weights(folder / "weights" / "stand-in")
        self.python = stand_in_python(folder / "bin")
        catalogue = CATALOGUE + "".join(
            REQUIREMENT.format(id=name, group=group, what=what)
            for name, (group, what) in REQUIREMENTS.items()
        )
        (self.suite / "requirements.toml").write_text(catalogue)
        (self.suite / "test_suite.py").write_text(TESTS)
        (folder / "pytest.ini").write_text(
            "[pytest]\n"
            "testpaths = suite\n"
            "qwenvl_profiles = profiles\n"
            "qwenvl_catalogue = suite/requirements.toml\n"
            f"qwenvl_engine_python = {self.python}\n"
            "qwenvl_backend = cpu\n"
            "addopts = -p no:cacheprovider --strict-markers --strict-config\n"
            "filterwarnings = error\n"
        )
        self.environment = clean_environment(
            folder, {"TMPDIR": str(folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
        )

    def profile(self, name: str = "alpha", *defects: str, **options: Any) -> Path:
        """Write a profile of the stand-in engine."""
        weights = options.pop("weights", self.weights)
        return write_profile(self.profiles, name, weights, defects=defects, **options)

    def command(self, *arguments: str) -> list[str]:
        """The command line of pytest."""
        return [sys.executable, "-m", "pytest", *arguments]

    def run(self, *arguments: str, **environment: str) -> Done:
        """Run pytest to its end."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> Running:
        """Start pytest with a report directory, to be ended in the middle."""
        return Running(self, *arguments, f"--conformance-report={self.report}")

    def read_report(self) -> dict[str, Any]:
        """The report as it is now."""
        content: dict[str, Any] = json.loads((self.report / "report.json").read_text())
        return content

    def processes(self) -> list[int]:
        """Every process that was started from this suite's environment and lives."""
        mark = f"TMPDIR={self.folder / 'tmp'}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            except OSError:
                continue
            if mark in environment and state not in (b"Z", b"X"):
                found.append(int(entry.name))
        return found


class Done:
    """A pytest run that ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def all(self) -> str:
        """Everything it wrote."""
        return self.out + self.err

    def outcomes(self) -> str:
        """pytest's last line."""
        return self.out.rstrip().splitlines()[-1]

    def assert_usage_error(self, *said: str) -> None:
        """One clear message, exit code 4, no traceback, nothing run."""
        assert self.code == 4, self.all
        assert "Traceback" not in self.all, self.all
        assert "INTERNALERROR" not in self.all, self.all
        words = " ".join(self.all.split())
        for part in said:
            assert words.count(" ".join(part.split())) == 1, (part, self.all)


class Running:
    """A pytest run under way."""

    def __init__(self, suite: Suite, *arguments: str) -> None:
        self.suite = suite
        self.log = suite.folder / "pytest.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                suite.command(*arguments),
                cwd=suite.folder,
                env=suite.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, file: str, text: str) -> None:
        """Wait until an engine's log, below the report directory, holds a text."""

        def there() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            path = self.suite.report / "engines" / file
            return path.exists() and text in path.read_text(errors="replace")

        wait_until(there, f"{text!r} in {file}")

    def interrupt(self) -> int:
        """Ctrl-C, as a terminal sends it."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End it without any chance to clean up."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def end(self) -> None:
        """Leave nothing behind, whatever the test found."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while (left := self.suite.processes()) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
