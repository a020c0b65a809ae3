"""Leases on played hosts: what is given, what is passed over, what comes back."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.hosts.playing import PlayedHost
from pytest_qwenvl.devices import returning, taking
from pytest_qwenvl.devices.inventory import Inventory, take_inventory
from pytest_qwenvl.devices.lease import DevicePool
from pytest_qwenvl.devices.locks import is_locked, read_record
from pytest_qwenvl.devices.reading import read_npus
from pytest_qwenvl.errors import LeaseError, UsageProblem
from tests.engines.support import PATIENCE, wait_until

MASK = "ASCEND_RT_VISIBLE_DEVICES"


class LeasedHost:
    """A played host with a folder of locks, and pools as runs on it have them."""

    def __init__(self, recording: str, folder: Path) -> None:
        self.host = PlayedHost(recording, folder / "host")
        self.locks = folder / "locks"
        self.told: list[str] = []

    def inventory(self, mask: str | None = None) -> Inventory:
        environment = {**os.environ, **self.host.environment}
        if mask is not None:
            environment[MASK] = mask
        return take_inventory("npu", environment, self.host.state, timeout=PATIENCE)

    def pool(self, mask: str | None = None, **options: Any) -> DevicePool:
        inventory = self.inventory(mask)
        environment = {**os.environ, **self.host.environment}
        return DevicePool(
            inventory.devices,
            inventory.physical,
            self.locks,
            npus=inventory.npus,
            look=lambda: read_npus(str(self.host.path / "npu-smi"), environment, PATIENCE),
            **{"patience": PATIENCE, "return_seconds": PATIENCE, **options},
        )

    def tell(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture
def played(tmp_path) -> Callable[[str], LeasedHost]:
    return lambda recording: LeasedHost(recording, tmp_path)


@pytest.fixture
def quick(monkeypatch) -> None:
    """Look as often as a test has patience for."""
    monkeypatch.setattr(taking, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(returning, "_POLL_SECONDS", 0.1)


def test_both_dies_of_a_card(played):
    a3 = played("a3-16x910c")
    pool = a3.pool()
    with pool.lease(1, "one") as one, pool.lease(2, "two") as two, pool.lease(1, "more") as more:
        assert one.physical == ("npu0",)
        assert two.physical == ("npu2", "npu3")
        # The die beside the first, rather than another broken card.
        assert more.physical == ("npu1",)


def test_a_mask_counts_in_its_own_numbers(played):
    with played("a3-16x910c").pool("9,4,5").lease(2, "me") as lease:
        assert lease.physical == ("npu4", "npu5")
        assert lease.devices == (1, 2)


def test_sick_and_used_devices_are_passed_over_and_named(played):
    a3 = played("a3-16x910c")
    pool = a3.pool()
    # After the inventory: what counts is how the devices are when they are given.
    a3.host.inject(health={"0": "Critical"})
    with a3.host.held(2, name="other_program") as foreign, pool.lease(2, "me", a3.tell) as lease:
        assert lease.physical == ("npu4", "npu5")
        assert lease.passed_over == {
            "npu0": "has health Critical",
            "npu2": f"is used by pid {foreign.pid} (other_program, 30000 MiB)",
        }
    (told,) = a3.told
    assert told.startswith("me: passed over: npu0 has health Critical; npu2 is used by pid ")


def test_devices_used_by_what_cannot_be_seen(played):
    busy = played("a3-16x910c-busy")
    with busy.pool().lease(6, "me") as lease:
        # Those of the recorded host that have nothing but what an idle chip uses.
        assert lease.physical == ("npu2", "npu3", "npu6", "npu7", "npu12", "npu13")
    assert {"npu0", "npu1", "npu4", "npu5", "npu8", "npu9"} <= lease.passed_over.keys()


def test_too_little_memory_for_the_engine(played):
    a2 = played("a2-8x910b3")
    a2.host.inject(keeps_memory=[0])
    with a2.host.held(0, mib=200):
        pass
    with a2.pool().lease(1, "me", memory_utilization=0.9) as lease:
        assert lease.physical == ("npu0",)
    with a2.pool().lease(1, "me", memory_utilization=0.9475) as lease:
        assert lease.physical != ("npu0",)
    assert "gpu_memory_utilization = 0.9475 needs 62095" in lease.passed_over["npu0"]


def test_nothing_fit_is_an_error_that_names_each(played, quick):
    duo = played("310p-4")
    duo.host.inject(health={"0": "Alarm"})
    pool = duo.pool(patience=0.2)
    with duo.host.held(1, 2, 3), pytest.raises(LeaseError) as caught, pool.lease(1, "me"):
        pass
    said = str(caught.value)
    assert said.startswith("me needs 1 of 4 devices, and too few were fit for 0.2 s: npu0")
    for number in range(1, 4):
        assert f"npu{number} is used by pid" in said
    assert not any(is_locked(path) for path in duo.locks.iterdir() if path.is_file())


def test_one_that_becomes_fit_is_taken(played, quick):
    duo = played("310p-4")
    with duo.host.held(0, 1, 2, 3) as foreign:
        pool = duo.pool()

        def tell(text: str) -> None:
            duo.tell(text)
            foreign.kill()

        with pool.lease(4, "me", tell) as lease:
            assert len(lease.devices) == 4
    assert "passed over: npu0 is used by pid" in duo.told[0]


def test_those_behind_do_not_wait_for_what_may_never_come(played, quick):
    duo = played("310p-4")
    pool = duo.pool("0,1,2,3")
    stuck: list[str] = []
    failed: list[BaseException] = []

    def ask_for_all() -> None:
        try:
            with duo.pool(patience=3.0).lease(4, "all", stuck.append):
                pass
        except LeaseError as problem:
            failed.append(problem)

    with duo.host.held(3):
        thread = threading.Thread(target=ask_for_all)
        thread.start()
        wait_until(lambda: any("waits for 4" in text for text in stuck), "the request for all")
        with pool.lease(3, "three") as lease:
            assert lease.physical == ("npu0", "npu1", "npu2")
            assert not failed
        thread.join()
    assert "npu3 is used by pid" in str(failed[0])


@pytest.mark.parametrize(
    ("health", "utilization", "said"),
    [
        ({"0": "Alarm", "1": "Critical"}, None, "npu0 has health Alarm; npu1 has health Critical"),
        ({}, 0.99, "npu3 has 42352 of 43757 MiB free"),
    ],
)
def test_what_waiting_cannot_change_is_an_error_at_once(played, health, utilization, said):
    duo = played("310p-4")
    duo.host.inject(health=health)
    with (
        pytest.raises(LeaseError, match="needs 3 of 4 devices, and too few are fit: ") as caught,
        duo.pool().lease(3, "me", memory_utilization=utilization),
    ):
        pass
    assert said in str(caught.value)


def test_memory_that_comes_back_late_is_waited_for(played, quick):
    a3 = played("a3-16x910c")
    pool = a3.pool()
    with contextlib.ExitStack() as running:

        def tell(text: str) -> None:
            a3.tell(text)
            running.close()

        with pool.lease(2, "me", tell) as lease:
            assert lease.physical == ("npu0", "npu1")
            engine = running.enter_context(a3.host.held(0, 1))
    assert pool.quarantined == {}
    assert a3.told == [
        "me gives back its devices: "
        + "; ".join(
            f"npu{number} has {used} MiB in use, held by pid {engine.pid} (VLLMEngineCore, "
            f"30000 MiB) ({used - 30000} before its lease)"
            for number, used in ((0, 33180), (1, 32896))
        )
    ]
    assert not any(is_locked(a3.locks / name) for name in ("npu0", "npu1"))


def leave_memory_behind(played_host: LeasedHost, pool: DevicePool) -> None:
    """An engine on two devices, of which the first keeps its memory."""
    played_host.host.inject(keeps_memory=[0])
    with pool.lease(2, "tiny/serve-2npu") as lease:
        assert lease.physical == ("npu0", "npu1")
        with played_host.host.held(0, 1):
            pass


def test_a_device_that_keeps_its_memory_is_quarantined(played, quick):
    a2 = played("a2-8x910b3")
    pool = a2.pool(return_seconds=0.3)
    leave_memory_behind(a2, pool)
    reason = "has 33379 MiB in use (3379 before its lease), 0.3 s after its engine ended"
    assert pool.quarantined == {"npu0": reason}
    assert is_locked(a2.locks / "npu0")
    record = read_record(a2.locks / "npu0")
    assert record is not None
    assert (record.quarantined, record.holder) == (reason, "tiny/serve-2npu")
    # The run goes on with the rest.
    with pool.lease(7, "next") as lease:
        assert lease.physical == tuple(f"npu{number}" for number in range(1, 8))
    pool.release_quarantined()
    assert not is_locked(a2.locks / "npu0")


@pytest.mark.parametrize("same_process", [True, False])
def test_what_no_longer_fits_beside_a_quarantine_is_an_error_at_once(played, quick, same_process):
    a2 = played("a2-8x910b3")
    pool = a2.pool(return_seconds=0.3, run_id="this run")
    leave_memory_behind(a2, pool)
    worker = pool if same_process else a2.pool(run_id="this run")
    with pytest.raises(LeaseError) as caught, worker.lease(8, "large"):
        pass
    assert "large needs 8 devices, and too few are left of 8" in str(caught.value)
    assert "npu0 has 33379 MiB in use" in str(caught.value)


def test_another_run_waits_for_the_end_of_a_quarantine(played, quick):
    a2 = played("a2-8x910b3")
    pool = a2.pool(return_seconds=0.3, run_id="this run")
    leave_memory_behind(a2, pool)
    a2.host.inject(keeps_memory=[])

    def tell(text: str) -> None:
        a2.tell(text)
        pool.release_quarantined()

    with a2.pool(run_id="another").lease(8, "large", tell) as lease:
        assert len(lease.devices) == 8
    assert a2.told[0] == "large waits for 8 of 8 devices"


def test_an_npu_smi_that_does_not_answer_gives_nothing(played):
    a2 = played("a2-8x910b3")
    pool = a2.pool()
    a2.host.inject(commands={"info": "dcmi"})
    with pytest.raises(UsageProblem, match="dcmi module initialize failed"), pool.lease(1, "me"):
        pass
    assert not is_locked(a2.locks / "npu0")


def test_an_npu_smi_that_fails_at_the_end_quarantines(played, quick):
    a2 = played("a2-8x910b3")
    pool = a2.pool(return_seconds=0.3)
    with pool.lease(1, "me"):
        a2.host.inject(commands={"info": "fail"})
    assert "cannot be looked at: " in pool.quarantined["npu0"]
    assert is_locked(a2.locks / "npu0")


def test_a_foreign_process_that_comes_half_way_is_named(played, quick):
    a2 = played("a2-8x910b3")
    pool = a2.pool(return_seconds=0.3)
    with contextlib.ExitStack() as foreign:
        with pool.lease(1, "me"):
            process = foreign.enter_context(a2.host.held(0, name="other_program"))
        assert f"held by pid {process.pid} (other_program, 30000 MiB)" in pool.quarantined["npu0"]


def test_the_whole_card_for_one(played):
    a3 = played("a3-16x910c")
    pool = a3.pool()
    with pool.lease(1, "load", exclusive="card") as load, pool.lease(1, "other") as other:
        assert (load.physical, load.held) == (("npu0",), ("npu0", "npu1"))
        assert other.physical == ("npu2",)


def test_the_whole_host_for_one(played, quick):
    duo = played("310p-4")
    pool = duo.pool()
    with pool.lease(1, "load", exclusive="host") as load:
        assert load.physical == ("npu0",)
        assert all(is_locked(duo.locks / f"npu{number}") for number in range(4))
    duo.host.inject(health={"3": "Warning"})
    with pool.lease(1, "load", exclusive="host") as load:
        # Nobody uses a sick chip either.
        assert len(load.held) == 4


def test_a_whole_card_counts_against_the_allowance(played):
    a3 = played("a3-16x910c")
    pool = a3.pool(allowance=["slot0"])
    with (
        pytest.raises(UsageProblem, match=r"1 devices, which with its whole card are 2; this run"),
        pool.lease(1, "load", exclusive="card"),
    ):
        pass
