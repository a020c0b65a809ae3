from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_qwenvl.devices import locks as locks_module
from pytest_qwenvl.devices.lease import DevicePool
from pytest_qwenvl.devices.locks import default_lock_directory
from pytest_qwenvl.errors import UsageProblem
from tests.engines.support import wait_until

CHECKOUT = Path(__file__).parents[2]


class Holder:
    """Another process that asks for devices."""

    def __init__(self, locks: Path, devices: int, count: int, name: str, slots: int = 0) -> None:
        arguments = [str(locks), str(devices), str(count), name, *([str(slots)] if slots else [])]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.plugin.lease_holder", *arguments],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def give_back(self) -> None:
        """Let it end by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.says() == "gave back"

    def kill(self) -> None:
        """End it without any chance to clean up."""
        self.process.kill()
        self.process.wait()


Hold = Callable[..., Holder]


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture
def hold(locks: Path) -> Iterator[Hold]:
    started: list[Holder] = []

    def hold(count: int, name: str = "other", devices: int = 2, slots: int = 0) -> Holder:
        started.append(Holder(locks, devices, count, name, slots))
        return started[-1]

    yield hold
    for holder in started:
        with holder.process:
            holder.process.kill()


def pool(locks: Path, devices: int = 2, slots: int = 0) -> DevicePool:
    names = [f"device{index}" for index in range(devices)]
    return DevicePool(range(devices), names, locks, [f"slot{index}" for index in range(slots)])


def is_free(locks: Path, name: str) -> bool:
    with (locks / name).open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_two_runs_get_different_devices(locks, hold):
    other = hold(1)
    assert other.says() == "got device0"
    with pool(locks).lease(1, "me") as mine:
        assert (mine.devices, mine.physical) == ((1,), ("device1",))
    other.give_back()
    with pool(locks).lease(1, "me") as mine:
        assert mine.physical == ("device0",)


def test_all_or_nothing(locks, hold):
    first = hold(1, "first")
    assert first.says() == "got device0"
    both = hold(2, "both")
    assert both.says() == "waiting: both waits for 2 of 2 devices"
    # While it waits for two, it does not sit on the one that is free.
    wait_until(lambda: is_free(locks, "device1"), "the second device's being free")
    first.give_back()
    assert both.says() == "got device0,device1"
    assert not is_free(locks, "device0")
    assert not is_free(locks, "device1")


def test_in_order_of_asking(locks, hold):
    first = hold(1, "first")
    assert first.says() == "got device0"
    both = hold(2, "both")
    assert both.says().startswith("waiting")
    # One device is free, and still it comes after the one that asked before.
    small = hold(1, "small")
    first.give_back()
    assert both.says() == "got device0,device1"
    both.give_back()
    said = small.says()
    if said.startswith("waiting"):
        # It may have had its turn, and found nothing free, before both were given back.
        said = small.says()
    assert said == "got device0"


def test_a_killed_run_gives_back(locks, hold):
    other = hold(2)
    assert other.says() == "got device0,device1"
    waiting = hold(2, "next")
    assert waiting.says().startswith("waiting")
    other.kill()
    assert waiting.says() == "got device0,device1"


def test_a_run_killed_while_waiting_lets_others_pass(locks, hold):
    holder = hold(1)
    assert holder.says() == "got device0"
    waiting = hold(2, "waiting")
    assert waiting.says().startswith("waiting")
    waiting.kill()
    with pool(locks).lease(1, "me") as mine:
        assert mine.physical == ("device1",)


def test_workers_of_one_run_share_its_allowance(locks, hold):
    worker = hold(1, "worker", devices=3, slots=1)
    assert worker.says() == "got device0"
    other_worker = hold(1, "other worker", devices=3, slots=1)
    assert other_worker.says().startswith("waiting")
    worker.give_back()
    assert other_worker.says() == "got device0"


def test_the_lock_file_says_who_holds(locks):
    with pool(locks).lease(1, "tiny/serve-1npu"):
        record = json.loads((locks / "device0").read_text())
        assert (record["pid"], record["holder"]) == (os.getpid(), "tiny/serve-1npu")
    assert (locks / "device0").read_text() == ""


def test_given_back_when_the_block_raises(locks):
    with pytest.raises(KeyError), pool(locks).lease(2, "me"):
        raise KeyError
    assert is_free(locks, "device0")
    assert is_free(locks, "device1")


def test_one_process_cannot_take_a_device_twice(locks):
    with pool(locks).lease(1, "one") as one, pool(locks).lease(1, "two") as two:
        assert one.physical != two.physical


@pytest.mark.parametrize(("count", "slots", "most"), [(3, 0, 2), (2, 1, 1)])
def test_more_than_may_be_held(locks, count, slots, most):
    with (
        pytest.raises(UsageProblem, match=f"me needs {count} devices; this run may hold {most}"),
        pool(locks, slots=slots).lease(count, "me"),
    ):
        pass


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageProblem, match=r"cannot keep device locks in .*file/locks") as caught:
        pool(tmp_path / "file" / "locks")
    assert "make it writable for every user" in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only directories")
def test_a_read_only_directory(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UsageProblem, match="cannot keep device locks"):
        pool(tmp_path)


def test_a_directory_whose_files_cannot_be_opened(locks, monkeypatch):
    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(13, "Permission denied")

    pool(locks)
    monkeypatch.setattr(locks_module.os, "open", refuse)
    with pytest.raises(UsageProblem, match=r"cannot keep device locks.*Permission denied"):
        pool(locks)


def test_every_user_of_the_host_can_take_locks(locks):
    before = os.umask(0o077)
    try:
        with pool(locks).lease(1, "me"):
            pass
    finally:
        os.umask(before)
    assert locks.stat().st_mode & 0o7777 == 0o1777
    for name in ("turn", "device0"):
        assert (locks / name).stat().st_mode & 0o666 == 0o666


def test_another_users_lock_file_is_opened_without_making_it(locks, monkeypatch):
    # A kernel with protected_regular refuses O_CREAT on another user's file in a sticky folder.
    with pool(locks).lease(1, "other user"):
        pass
    opened: list[int] = []
    really_open = os.open

    def watched(path: Path, flags: int, *arguments: int) -> int:
        if path.parent == locks:
            opened.append(flags)
        return really_open(path, flags, *arguments)

    monkeypatch.setattr(locks_module.os, "open", watched)
    with pool(locks).lease(1, "me"):
        pass
    assert opened
    assert not any(flags & (os.O_CREAT | os.O_TRUNC) for flags in opened)


def test_the_directory_is_the_hosts_whatever_a_batch_system_says(monkeypatch, tmp_path):
    monkeypatch.delenv("QWENVL_LOCK_DIRECTORY", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert default_lock_directory() == Path("/tmp/pytest-qwenvl-leases")
    monkeypatch.setenv("QWENVL_LOCK_DIRECTORY", str(tmp_path / "shared"))
    assert default_lock_directory() == tmp_path / "shared"
