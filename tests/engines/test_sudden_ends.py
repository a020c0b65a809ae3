"""No process is left, and none of another run is touched, however a run ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.driver import start_family
from tests.engines.support import PATIENCE, is_alive, wait_until

DRIVER = Path(__file__).with_name("driver.py")


@pytest.fixture
def bystander(tmp_path: Path) -> Iterator[list[int]]:
    """The family of another run on the same host."""
    folder = tmp_path / "other-run"
    folder.mkdir()
    process = start_family(folder)
    yield process.pids()
    process.stop(grace=0.0)


def run(folder: Path, ending: str) -> tuple[subprocess.Popen[str], dict[str, object]]:
    driver = subprocess.Popen(
        [sys.executable, str(DRIVER), str(folder), ending],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert driver.stdout is not None
    line = driver.stdout.readline()
    assert line, "the driver ended before its engine was up"
    return driver, json.loads(line)


def assert_nothing_left(pids: list[int]) -> None:
    wait_until(
        lambda: not any(is_alive(pid) for pid in pids),
        f"the end of {[pid for pid in pids if is_alive(pid)]}",
    )


@pytest.mark.parametrize(
    ("ending", "number"),
    [
        ("wait", signal.SIGKILL),
        ("wait", signal.SIGTERM),
        ("wait", signal.SIGINT),
        ("wait", signal.SIGHUP),
        ("return", None),
        ("raise", None),
        ("fork", signal.SIGKILL),
        ("frozen", signal.SIGKILL),
    ],
)
def test_the_family_ends_with_pytest(tmp_path, bystander, ending, number):
    driver, seen = run(tmp_path, ending)
    with driver:
        if number is not None:
            assert all(is_alive(pid) for pid in seen["family"])
            driver.send_signal(number)
        driver.wait(PATIENCE)
    assert_nothing_left([*seen["family"], seen["guardian"]])
    if seen["fork"]:
        assert is_alive(seen["fork"]), "the fork was to hold the pipe open"
        os.kill(seen["fork"], signal.SIGKILL)
    assert all(is_alive(pid) for pid in bystander)


def test_ctrl_c_at_the_terminal_reaches_pytest_alone(tmp_path):
    driver, seen = run(tmp_path, "wait")
    with driver:
        # As the terminal does: the whole foreground process group.
        groups = {os.getpgid(pid) for pid in [*seen["family"], seen["guardian"]]}
        assert os.getpgid(driver.pid) not in groups
        os.killpg(driver.pid, signal.SIGINT)
        driver.wait(PATIENCE)
    assert_nothing_left([*seen["family"], seen["guardian"]])


def test_pytest_and_guardian_killed_one_after_the_other(tmp_path):
    driver, seen = run(tmp_path, "wait")
    with driver:
        os.kill(seen["guardian"], signal.SIGKILL)
        assert_nothing_left(seen["family"])
        driver.kill()


def test_killed_guardian(tmp_path, bystander):
    process = start_family(tmp_path)
    family = process.pids()
    os.kill(process._guardian.pid, signal.SIGKILL)
    assert process.wait_exit(60) == -signal.SIGKILL
    assert process.stop() == -signal.SIGKILL
    assert not [pid for pid in family if is_alive(pid)]
    assert all(is_alive(pid) for pid in bystander)


def test_killed_engine_takes_its_family_along(tmp_path):
    process = start_family(tmp_path)
    family = process.pids()
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait_exit(60) == -signal.SIGKILL
    process.stop()
    assert not [pid for pid in family if is_alive(pid)]
