from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pytest_qwenvl.devices.line import Ticket, in_line, numbers_in, standing
from pytest_qwenvl.devices.locks import LeaseRecord, LockDirectory
from tests.engines.support import wait_until


@pytest.fixture
def locks(tmp_path) -> LockDirectory:
    return LockDirectory(tmp_path / "locks")


def asks(holder: str, *devices: str) -> LeaseRecord:
    return LeaseRecord.mine(holder, "a run", devices, 1)


class Waiter:
    """A request in line, on a thread of its own."""

    def __init__(self, locks: LockDirectory, holder: str, *devices: str) -> None:
        self.behind: list[str] = []
        self.served = threading.Event()
        self.done = threading.Event()
        self._locks, self._record = locks, asks(holder, *devices)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with standing(self._locks, self._record) as ticket:
            ticket.wait(lambda ahead: self.behind.append(ahead.holder))
            self.served.set()
            self.done.wait()

    def leave(self) -> None:
        self.done.set()
        self._thread.join()


def test_nobody_before_us(locks):
    told: list[LeaseRecord] = []
    with standing(locks, asks("me", "npu0")) as ticket:
        ticket.wait(told.append)
    assert told == []


def test_first_come_first_served(locks):
    first = Waiter(locks, "first", "npu0", "npu1")
    assert first.served.wait(60)
    second = Waiter(locks, "second", "npu1")
    wait_until(lambda: second.behind == ["first"], "the second's waiting")
    third = Waiter(locks, "third", "npu0", "npu1")
    wait_until(lambda: third.behind == ["second"], "the third's waiting")
    assert [record.holder for record in in_line(locks.path)] == ["first", "second", "third"]
    first.leave()
    assert second.served.wait(60)
    assert not third.served.is_set()
    second.leave()
    assert third.served.wait(60)
    third.leave()
    assert in_line(locks.path) == []


def test_who_wants_other_devices_is_not_waited_for(locks):
    first = Waiter(locks, "first", "npu0")
    assert first.served.wait(60)
    other = Waiter(locks, "other", "npu8", "npu9")
    assert other.served.wait(60)
    assert other.behind == []
    first.leave()
    other.leave()


def test_one_that_gives_up_in_the_middle_does_not_let_the_next_pass_the_first(locks):
    first = Waiter(locks, "first", "npu0")
    assert first.served.wait(60)
    folder = locks.path / "line"
    second = Ticket(locks, folder, asks("second", "npu0"))
    second.enter()
    third = Waiter(locks, "third", "npu0")
    wait_until(lambda: third.behind == ["second"], "the third's waiting")
    second.leave()
    wait_until(lambda: third.behind == ["second", "first"], "the third's waiting for the first")
    assert not third.served.is_set()
    first.leave()
    assert third.served.wait(60)
    third.leave()


def test_one_that_stepped_aside_comes_back_to_its_place(locks):
    folder = locks.path / "line"
    with standing(locks, asks("first", "npu0")):
        pass
    aside = Ticket(locks, folder, asks("aside", "npu0"))
    aside.enter()
    aside.leave()
    later = Waiter(locks, "later", "npu0")
    assert later.served.wait(60)
    aside.enter()
    assert [record.holder for record in in_line(locks.path)] == ["aside", "later"]
    aside.leave()
    later.leave()


def test_a_dead_ones_ticket_is_cleared(locks):
    child = os.fork()
    if child == 0:
        ticket = Ticket(locks, locks.folder("line"), asks("dead", "npu0"))
        ticket.enter()
        os._exit(0)
    os.waitpid(child, 0)
    folder = locks.path / "line"
    (number,) = numbers_in(folder)
    assert in_line(locks.path) == []
    assert numbers_in(folder) == []
    with standing(locks, asks("me", "npu0")) as ticket:
        assert min(numbers_in(folder)) > number
        ticket.wait(lambda ahead: pytest.fail(f"waits for {ahead}"))


def test_numbers_go_on_when_the_counter_is_lost(locks):
    (locks.path / "turn").write_text("rubbish")
    with standing(locks, asks("one", "npu0")), standing(locks, asks("two", "npu1")):
        assert [record.holder for record in in_line(locks.path)] == ["one", "two"]


def test_looking_at_a_line_nobody_ever_stood_in(tmp_path):
    assert in_line(tmp_path / "nowhere") == []
    assert not Path(tmp_path / "nowhere").exists()
