"""What a run that was killed costs when it is continued: what is repeated, and the time it adds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure
from tests.plugin.suite import Suite
from tests.stand_in_engine.install import write_profile

_WORKERS = 2
_KILLS = 4
_TESTS = 400
_EVIDENCE = 20_000  # characters a result: 8 MB in all, as a run with evaluations and loads keeps
_REPEATS = 3

# Notes every test that is begun; a moment each, so that a kill meets some in the middle.
_CONFTEST = """
import os, time
def pytest_runtest_call(item):
    if getattr(item, "callspec", None) and "obj" in dir(item):
        with open("begun", "a") as file:
            file.write(f"{os.environ['ATTEMPT']} {item.nodeid}\\n")
        time.sleep(0.02)
"""
_TESTS_TEXT = f"""
import pytest
@pytest.mark.serve
@pytest.mark.requirement("QVL-SRV-001")
@pytest.mark.parametrize("number", range({_TESTS} // 4))
def test_it(server, evidence, number):
    evidence.record(kept="x" * {_EVIDENCE})
"""


def measure() -> list[Figure]:
    """Tests begun twice a worker and run, and seconds that a wholly carried-over run takes."""
    repeated, added = [], []
    with tempfile.TemporaryDirectory() as folder:
        for kill in range(_KILLS):
            repeated.append(_repeated(_suite(Path(folder) / f"killed-{kill}"), kill))
        suite = _suite(Path(folder) / "whole")
        _run(suite, f"--conformance-report={suite.report}", attempt="1")
        for _ in range(_REPEATS):
            collecting = _run(suite, "--collect-only", "-q", attempt="0")
            added.append(_run(suite, f"--resume={suite.report}", attempt="2") - collecting)
        _check_nothing_ran(suite)
    return [
        Figure("tests begun twice a worker when a killed run is continued", max(repeated), 1, ""),
        Figure("what --resume adds beside the engine start", median(added), 1, "s"),
    ]


def _suite(folder: Path) -> Suite:
    suite = Suite(folder)
    for name in ("alpha", "beta", "gamma", "delta"):
        write_profile(suite.profiles, name, suite.weights)
    (suite.suite / "test_suite.py").write_text(_TESTS_TEXT)
    (suite.folder / "conftest.py").write_text(_CONFTEST)
    return suite


def _repeated(suite: Suite, kill: int) -> float:
    """Tests begun in a killed run and in the one that continues it, by the number of workers."""
    command = suite.command(f"-n{_WORKERS}", f"--conformance-report={suite.report}", "-q")
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(
            command,
            cwd=suite.folder,
            env={**suite.environment, "ATTEMPT": "1"},
            stdout=nowhere,
            stderr=nowhere,
        )
        wanted = (kill + 1) * _TESTS // (_KILLS + 2)
        while len(list(_begun(suite))) < wanted:
            if process.poll() is not None:
                raise SystemExit("the run ended before it could be killed; nothing to measure")
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    while suite.processes():
        time.sleep(0.05)
    _run(suite, f"-n{_WORKERS}", f"--resume={suite.report}", attempt="2")
    begun = Counter(_begun(suite))
    if len(begun) != _TESTS:
        raise SystemExit(f"{len(begun)} of {_TESTS} tests were begun; nothing to measure")
    return sum(count > 1 for count in begun.values()) / _WORKERS


def _begun(suite: Suite) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        for line in (suite.folder / "begun").read_text().splitlines():
            yield line.partition(" ")[2]


def _check_nothing_ran(suite: Suite) -> None:
    if max(Counter(_begun(suite)).values()) > 1:
        raise SystemExit("a run of which everything is carried over ran a test")


def _run(suite: Suite, *arguments: str, attempt: str) -> float:
    """Seconds of one run to its end."""
    begun = time.monotonic()
    done = suite.run(*arguments, ATTEMPT=attempt)
    if done.code != 0:
        print(done.all, file=sys.stderr)
        raise SystemExit(f"the run failed with exit code {done.code}; nothing to measure")
    return time.monotonic() - begun
