"""Which worker is given what, and when: the scheduler with played workers."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import pytest
from xdist.remote import Producer

from pytest_qwenvl.dispatching import (
    Work,
    expected_seconds,
    in_order,
    lower_bound,
    next_work,
    work_of,
)
from pytest_qwenvl.planning import Plan, PlannedDeployment
from pytest_qwenvl.scheduling import DeploymentScheduling
from tests.engines.support import make_profile
from tests.plugin.test_planning import deployment, inventory

PROFILE = make_profile(
    name="one",
    deployments=[
        deployment("offline", "offline", 1, 100),
        deployment("serve", "serve", 1, 300),
        deployment("wide", "serve", 2, 200),
    ],
)


class Worker:
    """What the scheduler sees of a worker; runs what it was sent when it is told to."""

    def __init__(self, name: str, tests: list[str]) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.tests = tests
        self.sent: list[int] = []
        self.ran: list[str] = []
        self.shutting_down = False
        self.deaf = False

    def send_runtest_some(self, indices: list[int]) -> None:
        if self.deaf:
            raise OSError("cannot send: closed")
        self.sent += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    def run(self, scheduler: DeploymentScheduling, count: int = 1) -> None:
        """Run tests as xdist's workers do: only once another item is known behind them."""
        for _ in range(count):
            assert len(self.sent) > 1, "nothing to run"
            index = self.sent.pop(0)
            if index < len(self.tests):
                self.ran.append(self.tests[index])
            scheduler.mark_test_complete(self, index)

    @property
    def holds(self) -> set[str]:
        """The deployments, or files, of what it was sent and has not run."""
        tests = [self.tests[index] for index in self.sent if index < len(self.tests)]
        return {test.partition("[")[2].rstrip("]").split("-Hi")[0] or test for test in tests}


TESTS = [
    "test_host.py::test_host",
    "test_a.py::test_a[one/offline]",
    "test_a.py::test_b[one/offline]",
    "test_a.py::test_a[one/serve]",
    "test_a.py::test_b[one/serve-Hi]",
    "test_a.py::test_c[one/serve]",
    "test_a.py::test_a[one/wide]",
]


def start(
    workers: int, npus: int = 2, tests: list[str] | None = None
) -> tuple[DeploymentScheduling, list[Worker], list[Any]]:
    plan = Plan(
        inventory=inventory(devices=npus),
        npus=npus,
        deployments=tuple(PlannedDeployment(PROFILE, it, None) for it in PROFILE.deployments),
    )
    reports: list[Any] = []
    config = SimpleNamespace(
        getvalue=lambda _: [f"{workers}*popen"],
        hook=SimpleNamespace(pytest_collectreport=lambda report: reports.append(report)),
    )
    scheduler = DeploymentScheduling(
        cast(pytest.Config, config), Producer("test", enabled=False), plan
    )
    nodes = [Worker(f"gw{number}", tests or TESTS) for number in range(workers)]
    for node in nodes:
        scheduler.add_node(node)
        assert not scheduler.tests_finished
    for node in nodes:
        scheduler.add_node_collection(node, node.tests)
    scheduler.schedule()
    return scheduler, nodes, reports


def test_one_worker_runs_everything_one_deployment_after_the_other():
    scheduler, (node,), _ = start(1)
    ran = 0
    while not scheduler.tests_finished:
        assert len(node.holds) <= 1, "one deployment at a time"
        node.run(scheduler)
        ran += 1
    assert sorted(node.ran) == sorted(TESTS)
    assert [test for test in node.ran if "[one/serve" in test] == TESTS[3:6]
    order = [node.ran.index(f"test_a.py::test_a[one/{name}]") for name in ("offline", "serve")]
    assert order == sorted(order), "offline before served"


def test_the_next_is_handed_out_when_the_last_is_finished_and_not_before():
    scheduler, (one, two), _ = start(2, npus=1, tests=TESTS[1:6])
    assert (one.holds, two.holds) == ({"one/offline"}, set()), "there is one device"
    one.run(scheduler)
    assert (one.holds, two.holds) == ({"one/offline"}, set()), "its last test has not been run"
    one.run(scheduler)
    assert one.holds | two.holds == {"one/serve"}


def test_what_fits_runs_beside_and_what_does_not_waits():
    _, nodes, _ = start(4, npus=2, tests=TESTS[1:])
    held = [node.holds for node in nodes if node.holds]
    assert held == [{"one/offline"}], "the served one waits for it, and the wide one for devices"
    _, nodes, _ = start(4, npus=3, tests=TESTS[1:])
    assert sorted(map(sorted, (node.holds for node in nodes))) == [
        [],
        [],
        ["one/offline"],
        ["one/wide"],
    ]


def test_a_served_deployment_waits_only_for_what_the_run_has():
    _, (node,), _ = start(1, tests=TESTS[3:6])
    assert node.holds == {"one/serve"}


@pytest.mark.parametrize("npus", [1, 2, 3, 16])
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_never_more_than_allowed_and_always_to_the_end(npus, workers):
    tests = [test for test in TESTS if npus > 1 or "wide" not in test]
    scheduler, nodes, _ = start(workers, npus, tests)
    size = {"one/offline": 1, "one/serve": 1, "one/wide": 2}
    while not scheduler.tests_finished:
        held = [name for node in nodes for name in node.holds]
        assert sum(size.get(name, 0) for name in held) <= npus
        assert len(held) == len(set(held))
        able = [node for node in nodes if len(node.sent) > 1]
        assert able, "everybody waits"
        able[-1].run(scheduler)
    assert sorted(test for node in nodes for test in node.ran) == sorted(tests)


def test_what_a_dead_worker_had_not_begun_goes_to_another():
    scheduler, (one, two), _ = start(2, npus=1, tests=TESTS[3:6])
    one.run(scheduler)
    assert scheduler.remove_node(one) == TESTS[4], "the test that it was running"
    assert two.holds == {"one/serve"}
    assert [two.tests[index] for index in two.sent[:-1]] == TESTS[5:6]
    two.run(scheduler)
    assert scheduler.tests_finished
    with pytest.raises(KeyError):
        scheduler.remove_node(one)


def test_a_replacement_is_given_what_is_left():
    scheduler, (one,), _ = start(1, tests=TESTS[3:6])
    assert scheduler.remove_node(one) == TESTS[3]
    assert not scheduler.tests_finished
    other = Worker("gw1", TESTS[3:6])
    scheduler.add_node(other)
    scheduler.add_node_collection(other, other.tests)
    scheduler.schedule()
    other.run(scheduler, 2)
    assert other.ran == TESTS[4:6]
    assert scheduler.tests_finished


def test_the_end_of_a_worker_that_waits_loses_nothing():
    scheduler, (one, two), _ = start(2, npus=1, tests=TESTS[3:6])
    assert scheduler.remove_node(two) is None
    one.run(scheduler, 3)
    assert scheduler.tests_finished


def test_a_worker_that_cannot_be_reached_is_given_nothing():
    scheduler, (one, two), _ = start(2, npus=1, tests=TESTS[1:6])
    two.deaf = True
    one.run(scheduler, 2)
    assert one.holds == {"one/serve"}
    scheduler, (one, two), _ = start(2, npus=1, tests=TESTS[1:6])
    one.deaf = True
    one.run(scheduler, 2)
    assert two.holds == {"one/serve"}
    assert scheduler.remove_node(one) is None, "it was never given it"


def test_workers_that_collected_different_tests_run_nothing():
    plan = Plan(inventory=inventory(), npus=2, deployments=())
    reports: list[Any] = []
    config = SimpleNamespace(
        getvalue=lambda _: ["2*popen"],
        hook=SimpleNamespace(pytest_collectreport=lambda report: reports.append(report)),
    )
    scheduler = DeploymentScheduling(
        cast(pytest.Config, config), Producer("test", enabled=False), plan
    )
    nodes = [Worker("gw0", ["a.py::a"]), Worker("gw1", ["a.py::b"])]
    for node in nodes:
        scheduler.add_node(node)
    for node in nodes:
        scheduler.add_node_collection(node, node.tests)
    scheduler.schedule()
    assert scheduler.tests_finished
    assert not any(node.sent for node in nodes)
    (report,) = reports
    assert report.failed and "a.py::b" in report.longrepr


# The order, and what fits.


def test_the_first_that_fits_and_need_not_wait():
    works = [Work("wide", 4), Work("late", 1, after=frozenset({"early"})), Work("small", 1)]
    assert next_work(works, {"early"}, 2) == works[2]
    assert next_work(works, {"other"}, 2) == works[1]
    assert next_work(works, {"early"}, 4) == works[0]
    assert next_work(works[:2], {"early"}, 2) is None


def test_what_needs_no_device_comes_first_and_what_is_dearest_next():
    works = [
        Work("short", 1, 10),
        Work("dear", 1, 100),
        Work("test_host.py"),
        Work("first", 1, 20, frozenset()),
        Work("second", 1, 95, frozenset({"first"})),
    ]
    order = in_order(works, 1, 1)
    assert order[0].name == "test_host.py"
    order = in_order(works, 2, 2)
    assert {work.name for work in order[1:3]} == {"dear", "first"}, "much waits for the first"
    assert in_order(works[::-1], 2, 2) == order, "whatever the order of collecting"


def test_the_order_is_within_a_tenth_of_what_any_could_reach():
    works = []
    for number, (npus, seconds) in enumerate([(1, 300), (1, 420), (1, 500), (2, 400), (2, 560)]):
        offline = Work(f"{number}/offline", npus, seconds)
        works += [offline, Work(f"{number}/serve", npus, 2 * seconds, frozenset({offline.name}))]
        works += [Work(f"{number}/wide", 2 * npus, 1.5 * seconds)]
    order = in_order(works, 8, 16)
    assert sorted(work.name for work in order) == sorted(work.name for work in works)
    assert expected_seconds(order, 8, 16) <= 1.10 * lower_bound(works, 8)
    # The check can fail: this is how long they take in the order of their names.
    assert expected_seconds(works, 8, 1) > 1.10 * lower_bound(works, 8)


def test_what_needs_more_than_there_is_is_not_waited_for():
    works = [Work("wide", 4, 10), Work("small", 1, 10)]
    assert expected_seconds(in_order(works, 2, 2), 2, 2) == 20


# What a plan is to the scheduler.


def test_what_stays_empty_beside_a_deployment_counts():
    profile = make_profile(
        name="one",
        deployments=[
            {**deployment("alone", "serve", 1, 50), "exclusive": "host"},
            deployment("offline-2", "offline", 2, 20),
            deployment("serve-2", "serve", 2, 30),
            deployment("serve-1", "serve", 1, 40),
        ],
    )
    planned = tuple(PlannedDeployment(profile, it, None) for it in profile.deployments)
    plan = Plan(inventory=inventory(devices=8), npus=8, deployments=planned)
    assert work_of(plan) == {
        "one/alone": Work("one/alone", 8, 50),
        "one/offline-2": Work("one/offline-2", 2, 20),
        "one/serve-2": Work("one/serve-2", 2, 30, frozenset({"one/offline-2"})),
        "one/serve-1": Work("one/serve-1", 1, 40),
    }
    attached = dataclasses.replace(plan, deployments=planned[2:3], npus=0, endpoint="http://h:1")
    assert work_of(attached) == {"one/serve-2": Work("one/serve-2")}
