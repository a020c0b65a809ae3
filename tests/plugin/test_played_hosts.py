"""``--npus`` on played Ascend hosts: what a run holds, beside whom, and what is left of it.

Who was on which device is told by the engines themselves (``tests/stand_in_engine/occupying.py``).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from pytest_qwenvl.devices.line import in_line
from tests.engines.support import wait_until
from tests.plugin.played import HOSTS, PlayedSuite, end_all
from tests.stand_in_engine.install import CHECKOUT
from tests.stand_in_engine.occupying import shared

SMALL = {"alpha/serve-1npu", "alpha/serve-2npu", "beta/serve-4npu"}
Play = Callable[[str], PlayedSuite]


@pytest.fixture
def play(tmp_path) -> Iterator[Play]:
    """Makes the suite on a played host, with deployments on one, two and four NPUs."""
    played: list[PlayedSuite] = []

    def play(recording: str) -> PlayedSuite:
        suite = PlayedSuite(tmp_path, recording)
        played.append(suite)
        suite.profile("alpha", deployments=[("serve", 1), ("serve", 2)])
        suite.profile("beta", deployments=[("serve", 4)])
        return suite

    yield play
    for suite in played:
        end_all(suite)


@pytest.mark.parametrize("recording", HOSTS)
def test_one_run(play, recording):
    suite = play(recording)
    run = suite.begin("one", "--npus=4")
    run.check_conformant(SMALL)
    suite.check_engines(3, most=4)
    assert sorted(len(stay.devices) for stay in suite.stays()) == [1, 2, 4]
    assert f"npu backend, 4 of {HOSTS[recording]} NPUs" in run.done().out
    assert "on 4 NPUs" in run.read_report()["verdict_sentence"]
    assert suite.processes() == []


@pytest.mark.parametrize("recording", HOSTS)
def test_deployments_run_beside_each_other(play, recording):
    suite = play(recording)
    run = suite.begin("one", f"--npus={HOSTS[recording]}", "-n3", MEET="3")
    run.check_conformant(SMALL)
    suite.check_engines(3, most=HOSTS[recording])
    assert "12 passed" in run.done().outcomes(), "all three met"
    workers = {it["deployment"]: it["worker"] for it in run.read_report()["results"] if it["model"]}
    assert len(set(workers.values())) == 3
    assert suite.processes() == []


def test_more_workers_than_npus_wait(play):
    suite = play("a2-8x910b3")
    suite.profile("gamma", deployments=[("serve", 1), ("serve", 3)])
    run = suite.begin("one", "--npus=4", "-n6")
    run.check_conformant(SMALL | {"gamma/serve-1npu", "gamma/serve-3npu"})
    suite.check_engines(5, most=4)


@pytest.mark.parametrize(
    ("recording", "arguments", "meet"),
    [
        ("a3-16x910c", ("--npus=8", "-n3"), "6"),
        ("a2-8x910b3", ("--npus=8", "-n3"), "2"),
        ("a2-8x910b3", ("--npus=4",), "2"),
    ],
)
def test_two_runs_at_once(play, recording, arguments, meet):
    suite = play(recording)
    runs = [suite.begin(name, *arguments, MEET=meet) for name in ("one", "two")]
    for run in runs:
        run.check_conformant(SMALL)
    suite.check_engines(6, most=HOSTS[recording])
    assert suite.processes() == []


@pytest.mark.parametrize("workers", [(), ("-n3",)])
@pytest.mark.parametrize("recording", HOSTS)
def test_the_next_run_takes_over_from_a_killed_one(play, recording, workers):
    suite = play(recording)
    everything = f"--npus={HOSTS[recording]}"
    asks = f"whole/serve-{HOSTS[recording]}npu"
    suite.profile("whole", deployments=[("serve", HOSTS[recording])])
    first = suite.begin("one", everything, "--model=*a", *workers, GO="/nonexistent/word")
    first.wait_for_engines(3 if workers else 1)
    held = suite.stays()
    second = suite.begin("two", everything, "--model=whole")
    wait_until(lambda: [it.holder for it in in_line(suite.locks)] == [asks], f"{asks} in line")
    assert len(suite.stays()) == len(held), "it has not been given anything"
    first.kill()
    second.check_conformant({asks})
    suite.check_engines(len(held) + 1, most=HOSTS[recording])
    assert set(suite.stays()[-1].devices) == set(range(HOSTS[recording]))
    wait_until(lambda: suite.processes() == [], "the end of everything the first had started")


BROKEN = """
import contextlib, dataclasses

whole = DevicePool.lease

@contextlib.contextmanager
def lease(self, count, holder, waiting=None, **more):
    with whole(self, count, holder, waiting, **more) as lease:
        yield dataclasses.replace(lease, devices=tuple(range(count)))

DevicePool.lease = lease
"""


def test_a_device_with_two_engines_would_be_seen(play):
    suite = play("a3-16x910c")
    suite.plugin(BROKEN)
    run = suite.begin("one", "-n3", MEET="3")
    run.check_conformant(SMALL)
    said = shared(suite.stays())
    assert any("came to device 0 while" in line for line in said), said
    assert any("on [0] at once" in line for line in said), said


def test_a_worker_that_dies_loses_no_other_tests(play):
    suite = play("a2-8x910b3")
    (suite.suite / "test_dying.py").write_text(
        "import os, pytest\n"
        "@pytest.mark.serve\n"
        "def test_dies(server, deployment):\n"
        "    if deployment.id == 'beta/serve-4npu':\n"
        "        os.kill(os.getpid(), 9)\n"
    )
    run = suite.begin("one", "--npus=8", "-n2")
    done = run.done()
    assert done.code == 1, done.all
    report = run.read_report()
    outcomes = [(it["deployment"], it["requirement"], it["outcome"]) for it in report["results"]]
    for deployment in ("serve-1npu", "serve-2npu", "serve-4npu"):
        for requirement, count in (("QVL-SRV-001", 1), ("QVL-SRV-002", 2)):
            assert outcomes.count((deployment, requirement, "PASS")) == count, outcomes
    assert done.out.count("crashed while running") == 1
    found = suite.stays()
    assert shared(found) == []
    assert len(found) == 4, "the engine that died with its worker was started again"
    assert suite.processes() == []


@pytest.mark.parametrize("workers", [(), ("-n3",)])
def test_a_device_that_keeps_its_memory_is_left_alone(play, workers):
    suite = play("a2-8x910b3")
    suite.profile("gamma", deployments=[("serve", 8)])
    suite.host.inject(keeps_memory=[0])
    run = suite.begin("one", *workers)
    done = run.done()
    report = run.read_report()
    found = suite.stays()
    assert shared(found) == []
    assert "npu0 is quarantined since" in " ".join(report["notes"]), done.all
    assert [stay.devices for stay in found if 0 in stay.devices] == [found[0].devices]
    outcomes = {(f"{it['model']}/{it['deployment']}", it["outcome"]) for it in report["results"]}
    assert {(name, "PASS") for name in SMALL} <= outcomes
    # Which of the two that wanted it came first is the order's.
    if len(found[0].devices) < 8:
        assert report["verdict"] == "PARTIAL"
        assert ("gamma/serve-8npu", "SKIPPED") in outcomes


def test_sick_devices_and_those_of_others_are_passed_over_and_named(play):
    suite = play("a3-16x910c")
    suite.host.inject(health={"1": "Alarm"})
    with suite.host.held(6, name="python3") as other:
        run = suite.begin("one", "--npus=8", "-n3", MEET="3")
        run.check_conformant(SMALL)
    assert not {1, 6} & {device for stay in suite.stays() for device in stay.devices}
    suite.check_engines(3, most=8)
    notes = " ".join(run.read_report()["notes"])
    assert "npu1 was not given to" in notes and "it has health Alarm" in notes
    assert f"it is used by pid {other.pid} (python3, " in notes, notes
    assert "note: npu1 was not given to" in run.done().out


def test_a_deployment_that_needs_more_is_listed_and_the_verdict_partial(play):
    suite = play("a2-8x910b3")
    run = suite.begin("one", "--npus=2", "-n2")
    assert run.done().code == 0, run.done().all
    report = run.read_report()
    assert report["verdict"] == "PARTIAL"
    assert [(it["model"], it["deployment"], it["reason"]) for it in report["not_run"]] == [
        ("beta", "serve-4npu", "needs 4 NPUs; this run may hold 2 (--npus)")
    ]
    suite.check_engines(2, most=2)


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_more_than_are_visible_is_a_usage_error(play, workers):
    suite = play("a2-8x910b3")
    done = suite.run("--backend=npu", "--npus=9", *workers)
    done.assert_usage_error("--npus 9: this host has 8 visible NPUs; ask for at most 8")
    assert suite.stays() == []


@pytest.mark.parametrize("fault", ["fail", "dcmi", "rubbish", "nothing"])
def test_a_host_that_cannot_be_read_is_no_cpu_host(play, fault):
    suite = play("a2-8x910b3")
    suite.host.inject(commands={"info": fault})
    done = suite.run("--backend=auto", "-m", "serve")
    done.assert_usage_error("this looks like an Ascend host", "but its NPUs cannot be listed")
    assert "--backend cpu" in done.all
    assert suite.stays() == []


def test_an_ascend_host_is_found_and_only_a_host_without_any_sign_falls_to_the_cpu(play):
    suite = play("a2-8x910b3")
    suite.profile("beta", deployments=[("serve", 1)])
    arguments = ("--backend=auto", "--npus=1", "-m", "serve", "--model=beta")
    report = f"--conformance-report={suite.report}"
    done = suite.run(*arguments, report)
    assert done.code == 0, done.all
    assert "npu backend, 1 of 8 NPUs (found " in done.out
    assert suite.read_report()["backend"] == "npu"
    assert len(suite.stays()) == 1
    elsewhere = {"PATH": suite.environment["PATH"].partition(os.pathsep)[2]}
    done = suite.run(*arguments, report, **elsewhere)
    assert done.code == 0, done.all
    lines = [line for line in done.out.splitlines() if line.startswith("qwenvl:")]
    assert lines[0].startswith("qwenvl: cpu backend, 1 of ")
    assert "virtual devices, no NPU (no sign of an NPU on this host)" in lines[0]
    assert "on the CPU backend" in suite.read_report()["verdict_sentence"]
    summary = " ".join(done.out.split("Qwen-VL conformance =")[1].split())
    assert "CONFORMANT" in summary and "on the CPU backend" in summary
    assert len(suite.stays()) == 1


def test_ctrl_c_gives_everything_back(play):
    suite = play("a2-8x910b3")
    run = suite.begin("one", "-n3", GO="/nonexistent/word")
    run.wait_for_engines(3)
    run.process.send_signal(signal.SIGINT)
    assert run.done().code == 2, run.done().all
    wait_until(lambda: suite.processes() == [], "the end of all engines")
    assert "Ctrl-C" in run.read_report()["interrupted"]
    suite.check_engines(3, most=8)


def test_the_real_serve_group(play):
    """The suite itself, as far as the stand-in answers it, on a host with 16 NPUs."""
    suite = play("a3-16x910c")
    suite.profile("alpha", deployments=[("serve", 1), ("serve", 2)], items=2)
    run = suite.begin(
        "real",
        "--npus=4",
        "-n3",
        f"--rootdir={CHECKOUT}",
        f"--config-file={CHECKOUT / 'pyproject.toml'}",
        f"--profiles={suite.profiles}",
        "--model=alpha",
        "--model=beta",
        f"--engine-python={suite.python}",
        str(CHECKOUT / "conformance"),
    )
    assert run.done().code in (0, 1), run.done().all
    report = run.read_report()
    assert report["complete"]
    passed = {
        f"{it['model']}/{it['deployment']}"
        for it in report["results"]
        if (it["requirement"], it["outcome"]) == ("QVL-SRV-001", "PASS")
    }
    assert passed == SMALL
    assert {it["outcome"] for it in report["results"]} <= {"PASS", "FAIL", "UNSUPPORTED"}
    servers = [it for it in report["engines"] if it["kind"] == "serve"]
    suite.check_engines(len(servers), most=4)
    assert suite.processes() == []
