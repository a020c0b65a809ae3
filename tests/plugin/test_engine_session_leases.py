"""What the engine session makes of leases: notes for the report, deployments that no longer fit."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import pytest

from fixtures.hosts.playing import PlayedHost
from pytest_qwenvl.config import Config
from pytest_qwenvl.devices import returning
from pytest_qwenvl.devices.inventory import take_inventory
from pytest_qwenvl.devices.lease import DevicePool
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.errors import DevicesLostError
from pytest_qwenvl.planning import Plan, PlannedDeployment, make_plan
from pytest_qwenvl.report.progress import StepProgress
from pytest_qwenvl.weights import FoundWeights
from tests.engines.support import PATIENCE, fake_interpreter, make_profile

PROFILE = make_profile(
    engine={"npu": {"arguments": {"gpu_memory_utilization": 0.947}}},
    deployments=[
        {"name": "serve-2npu", "mode": "serve", "npus": 2, "images": 3},
        {"name": "serve-8npu", "mode": "serve", "npus": 8, "images": 3},
        {"name": "alone", "mode": "serve", "npus": 1, "images": 3, "exclusive": "host"},
        {
            "name": "modest",
            "mode": "serve",
            "npus": 1,
            "images": 3,
            "arguments": {"gpu_memory_utilization": 0.5},
        },
    ],
)


def planned(name: str) -> PlannedDeployment:
    return PlannedDeployment(PROFILE, PROFILE.deployment(name), None)


@pytest.fixture
def host(tmp_path, monkeypatch) -> PlayedHost:
    host = PlayedHost("a2-8x910b3", tmp_path / "host")
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("QWENVL_LOCK_DIRECTORY", str(tmp_path / "locks"))
    monkeypatch.setattr(returning, "_POLL_SECONDS", 0.1)
    return host


@pytest.fixture
def session(host, tmp_path, monkeypatch) -> EngineSession:
    short = functools.partial(DevicePool, return_seconds=0.2)
    of_inventory = functools.partial(DevicePool.of_inventory.__func__, short)  # type: ignore[attr-defined]
    monkeypatch.setattr(DevicePool, "of_inventory", of_inventory)
    inventory = take_inventory("npu", timeout=PATIENCE)
    plan = Plan(inventory=inventory, npus=8, deployments=())
    session = EngineSession(Config(), plan, tmp_path, lambda it: StepProgress(it, None), "a run")
    session._interpreter = dataclasses.replace(fake_interpreter(), path=Path("/no/python"))
    return session


def test_a_sound_host_needs_no_notes(session):
    with session.lease(planned("serve-2npu")) as lease:
        assert lease.physical == ("npu0", "npu1")
    assert session.notes == []


def test_what_was_passed_over_is_noted(session, host):
    host.inject(health={"1": "Alarm"})
    with session.lease(planned("serve-2npu")) as lease:
        assert lease.physical == ("npu2", "npu3")
    assert session.notes == ["npu1 was not given to tiny/serve-2npu: it has health Alarm"]


def test_the_profiles_share_of_memory_is_asked_for(session, host):
    host.inject(keeps_memory=[0])
    with host.held(0, mib=150):
        pass
    with session.lease(planned("serve-2npu")) as lease:
        assert lease.physical == ("npu2", "npu3")
    assert "npu0 was not given to tiny/serve-2npu: it has 62007 of 65536" in session.notes[0]
    with session.lease(planned("modest")) as lease:
        assert lease.physical == ("npu0",)


def test_a_quarantine_is_noted_and_the_run_goes_on(session, host):
    host.inject(keeps_memory=[0])
    with session.lease(planned("serve-2npu")), host.held(0, 1):
        pass
    assert session.notes == [
        "npu0 is quarantined since tiny/serve-2npu: it has 33379 MiB in use (3379 before its "
        "lease), 0.2 s after its engine ended"
    ]
    with session.lease(planned("serve-2npu")) as lease:
        assert lease.physical == ("npu2", "npu3")
    with pytest.raises(DevicesLostError), session.lease(planned("serve-8npu")):
        pass


def test_a_deployment_that_wants_the_host_alone(session):
    with session.lease(planned("alone")) as lease:
        assert len(lease.devices) == 1
        assert len(lease.held) == 8


@pytest.mark.parametrize(("npus", "names"), [(8, {"serve-8npu", "alone"}), (2, set())])
def test_what_stays_empty_counts_against_the_allowance(host, tmp_path, npus, names):
    inventory = take_inventory("npu", timeout=PATIENCE)
    plan = make_plan(
        Config(npus=npus), {"tiny": PROFILE}, inventory, lambda _: FoundWeights(tmp_path)
    )
    chosen = {it.deployment.name for it in plan.deployments}
    assert chosen == {"serve-2npu", "modest"} | names
    held_back = {one.deployment.name: why for one, why in plan.held_back}
    if npus == 2:
        assert held_back["alone"] == (
            "needs 8 NPUs, those of its host that stay empty included; this run may hold 2 (--npus)"
        )


LOSING = """
import contextlib
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.errors import DevicesLostError

whole = EngineSession.lease

@contextlib.contextmanager
def lease(self, planned):
    if planned.deployment.name == "serve-2npu":
        raise DevicesLostError("alpha/serve-2npu needs 2 devices, and too few are left of 2")
    with whole(self, planned) as lease:
        self.notes.append("npu0 is quarantined since alpha/serve-1npu: it has 33379 MiB in use")
        yield lease

EngineSession.lease = lease
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_what_no_longer_fits_is_not_run_and_the_verdict_partial(suite, workers):
    suite.profile("alpha", deployments=[("serve", 1), ("serve", 2)])
    (suite.suite / "conftest.py").write_text(LOSING)
    done = suite.run("-m", "serve", f"--conformance-report={suite.report}", *workers)
    report = suite.read_report()
    assert done.code == 0, done.all
    assert report["verdict"] == "PARTIAL"
    reason = "alpha/serve-2npu needs 2 devices, and too few are left of 2"
    assert report["not_run"] == [{"model": "alpha", "deployment": "serve-2npu", "reason": reason}]
    outcomes = {(it["deployment"], it["outcome"]) for it in report["results"]}
    assert outcomes == {("serve-1npu", "PASS"), ("serve-2npu", "SKIPPED")}
    assert {it["reason"] for it in report["results"]} == {"", reason}
    assert report["notes"] == [
        "npu0 is quarantined since alpha/serve-1npu: it has 33379 MiB in use"
    ]
    assert "note: npu0 is quarantined since alpha/serve-1npu" in done.out
    assert "not run: alpha/serve-2npu: alpha/serve-2npu needs 2 devices" in done.out
