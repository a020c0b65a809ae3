from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.hosts.playing import PlayedHost
from pytest_qwenvl.cli import main
from pytest_qwenvl.devices.inventory import take_inventory
from pytest_qwenvl.devices.lease import DevicePool
from tests.engines.support import PATIENCE, wait_until

Show = Callable[..., str]


@pytest.fixture
def locks(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("QWENVL_LOCK_DIRECTORY", str(tmp_path / "locks"))
    return tmp_path / "locks"


@pytest.fixture
def host(tmp_path, monkeypatch, locks) -> PlayedHost:
    host = PlayedHost("a3-16x910c", tmp_path / "host")
    monkeypatch.delenv("ASCEND_RT_VISIBLE_DEVICES", raising=False)
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    return host


@pytest.fixture
def show(capsys) -> Show:
    def show(*options: str) -> str:
        assert main(["devices", *options]) == 0
        said: str = capsys.readouterr().out
        return said

    return show


def pool() -> DevicePool:
    inventory = take_inventory("auto", timeout=PATIENCE)
    return DevicePool(inventory.devices, inventory.physical, npus=inventory.npus, run_id="a run")


@pytest.fixture
def another_run(locks, host) -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    """Another process that holds the first devices, or waits for them."""
    started: list[subprocess.Popen[str]] = []
    code = (
        "import sys; from tests.devices.test_devices_command import pool\n"
        "with pool().lease(int(sys.argv[1]), 'other/serve', print) as lease:\n"
        "    print('got', flush=True); sys.stdin.read()"
    )

    def start(count: int) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-uc", code, str(count)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"{name} "))


def test_who_holds_what(host, show, another_run):
    other = another_run(2)
    assert says(other) == "got"
    host.inject(health={"5": "Warning"})
    with pool().lease(1, "mine/load", exclusive="card"), host.held(6, name="stranger") as stranger:
        text = show()
    heading, columns, *_ = text.splitlines()
    assert heading.startswith("16 devices of the NPU backend (found ")
    assert " ".join(columns.split()) == "DEVICE CARD/DIE NPU HEALTH MEMORY (MiB) HELD BY"
    assert f"other/serve, pid {other.pid} of " in row(text, "npu0")
    assert f"mine/load, pid {os.getpid()} of " in row(text, "npu2")
    # It stays empty beside the one that was asked for.
    assert f"mine/load, pid {os.getpid()} of " in row(text, "npu3")
    assert row(text, "npu4").endswith(" free")
    assert row(text, "npu5").endswith("nobody, but it has health Warning")
    assert f"nobody, but it has 33179 MiB in use by pid {stranger.pid}" in row(text, "npu6")
    assert "2/0" in row(text, "npu4") and "Ascend910 (a3)" in row(text, "npu4")


def test_for_scripts(host, show, another_run):
    other = another_run(1)
    assert says(other) == "got"
    with host.held(0, mib=100) as visitor:
        said: dict[str, Any] = json.loads(show("--json"))
    assert (said["backend"], said["hardware"]) == ("npu", "a3")
    first, second, *_ = said["devices"]
    assert (first["name"], first["index"], first["state"]) == ("npu0", 0, "leased")
    assert (first["lease"]["pid"], first["lease"]["run_id"]) == (other.pid, "a run")
    assert first["lease"]["devices"] == ["npu0"]
    assert first["npu"]["processes"][0]["memory_mib"] == 100
    assert first["foreign_pids"] == [visitor.pid]
    assert (second["state"], second["lease"], second["stale"]) == ("free", None, None)
    assert said["waiting"] == []


def test_processes_of_the_lease_itself_are_not_foreign(host, show):
    with pool().lease(1, "mine/serve"), host.held(0):
        said = json.loads(show("--json"))
    assert said["devices"][0]["npu"]["processes"]
    assert said["devices"][0]["foreign_pids"] == []


def test_what_a_killed_run_left_is_no_lease(host, show, another_run):
    other = another_run(1)
    assert says(other) == "got"
    other.kill()
    other.wait()
    assert row(show(), "npu0").endswith(f"free (left by pid {other.pid}, which is gone)")
    said = json.loads(show("--json"))["devices"][0]
    assert (said["state"], said["lease"], said["stale"]["pid"]) == ("free", None, other.pid)


def test_who_waits(host, show, another_run):
    with pool().lease(1, "mine"):
        waiting = another_run(16)
        assert "waits for 16" in says(waiting)
        assert f"waiting for 16: other/serve, pid {waiting.pid} of " in show().splitlines()[-1]


def test_a_killed_one_in_line_is_not_shown(host, show, another_run):
    with pool().lease(16, "mine"):
        other = another_run(1)
        assert "waits for 1" in says(other)
        wait_until(lambda: f"pid {other.pid}" in show(), "the waiting one's being shown")
        other.kill()
        other.wait()
        assert f"pid {other.pid}" not in show()


def test_virtual_devices(locks, show, monkeypatch):
    inventory = take_inventory("cpu")
    cpu = DevicePool(inventory.devices, inventory.physical)
    with cpu.lease(1, "tiny/serve-1npu"):
        text = show("--backend", "cpu")
    assert text.splitlines()[1].split() == ["DEVICE", "HELD", "BY"]
    assert "tiny/serve-1npu, pid" in row(text, inventory.physical[0])
    assert "of the CPU backend (asked for by --backend cpu)" in text


def test_looking_makes_nothing(locks, show):
    show("--backend", "cpu")
    assert not locks.exists()


def test_a_host_that_cannot_be_read(host, capsys):
    host.inject(commands={"info": "fail"})
    assert main(["devices"]) == 2
    assert "its NPUs cannot be listed" in capsys.readouterr().err
