"""Which xdist worker runs what: every test of a deployment on one worker, one deployment at a time.

A worker of xdist runs a test only once it knows the next one, so that it can tell what to tear
down. xdist's schedulers therefore give a worker its next group while the last test of the one
before has not begun, and that group waits with it, whoever else is idle. Here a *pause* follows
each group: an item that tears everything down, gives the lease back, and is where the worker waits.

xdist's own ``loadgroup`` is not used either: its workers hand the group over in a private field of
pytest's items, which newer versions of pytest do not read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from xdist import workermanage  # type: ignore[import-untyped]
from xdist.report import report_collection_diff  # type: ignore[import-untyped]

from pytest_qwenvl.dispatching import Work, in_order, next_work, work_of
from pytest_qwenvl.planning import Plan

PAUSES = "qwenvl_pauses"
"""Key of a worker's input, there when its controller schedules with pauses."""


class Pause(pytest.Item):
    """Follows a worker's last test for now: it has no fixture in common with any test."""

    def listchain(self) -> list[pytest.Item | pytest.Collector]:  # type: ignore[override]
        """Nothing above it, not even the session: what was set up for tests before is torn down."""
        return [self]

    def runtest(self) -> None:
        """Never called: the plugin passes over a pause."""
        raise AssertionError("a pause is no test")


def append_pause(session: pytest.Session) -> None:
    """On a worker, after collecting: an item that the controller does not count among the tests."""
    session.items.append(Pause.from_parent(session, name="pause"))


class DeploymentScheduling:
    """Hands out deployments one by one, as devices and workers become free.

    Tests without a deployment are handed out before, by file. What a worker that died had not
    begun goes to another one.

    Args:
        plan: what the run may hold, and how long each deployment is expected to take.
    """

    def __init__(self, config: pytest.Config, log: Any, plan: Plan) -> None:
        self.config = config
        self.log = log.deploymentsched
        self._devices = plan.npus
        self._workers = _number_of_workers(config)
        self._planned = work_of(plan)
        self._longest_first = sorted(self._planned, key=len, reverse=True)
        # What each worker collected, and what it was given and has not done.
        self._collections: dict[Any, list[str]] = {}
        self._given: dict[Any, Work | None] = {}
        self._tests: dict[str, list[str]] | None = None
        self._waiting: list[Work] = []

    @property
    def nodes(self) -> list[Any]:
        """Every worker that may be given work."""
        return list(self._given)

    @property
    def collection_is_completed(self) -> bool:
        """Whether every worker that the run began with has collected."""
        return len(self._collections) >= self._workers

    @property
    def tests_finished(self) -> bool:
        """Whether everything was run, what a dead worker left included."""
        return self.collection_is_completed and not self.has_pending

    @property
    def has_pending(self) -> bool:
        """Whether tests wait or run."""
        return bool(self._tests)

    def add_node(self, node: Any) -> None:
        """A worker was started."""
        assert node not in self._given
        self._given[node] = None

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        """A worker has collected; one that replaces another must have collected the same."""
        assert node in self._given
        if self._tests is not None:
            first, official = next(iter(self._collections.items()))
            difference = report_collection_diff(
                official, collection, first.gateway.id, node.gateway.id
            )
            if difference:
                self.log(difference)
                node.shutdown()
                return
        self._collections[node] = list(collection)

    def schedule(self) -> None:
        """Hand out what can be; called when all have collected, and when a replacement has."""
        assert self.collection_is_completed
        if self._tests is None:
            self._tests = {}
            if not self._all_collected_the_same():
                return
            for test in next(iter(self._collections.values())):
                self._tests.setdefault(self._work_of(test).name, []).append(test)
            works = {work.name: work for work in map(self._work_of, self._first_tests())}
            self._waiting = in_order(list(works.values()), self._devices, self._workers)
        self._hand_out()

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """A worker has run, and torn down, a test or a pause."""
        del duration
        collection, work = self._collections[node], self._given[node]
        if item_index == len(collection):
            return
        assert work is not None and self._tests is not None
        left = self._tests[work.name]
        left.remove(collection[item_index])
        if not left:
            del self._tests[work.name]
            self._given[node] = None
            self._hand_out()

    def mark_test_pending(self, item: str) -> None:
        """Run a test again; nothing here asks for that."""
        raise NotImplementedError(f"{item}: a test is run once")

    def remove_pending_tests_from_node(self, node: Any, indices: Sequence[int]) -> None:
        """Take tests back from a worker; nothing here asks for that."""
        raise NotImplementedError(f"{node}: nothing is taken back ({indices})")

    def remove_node(self, node: Any) -> str | None:
        """A worker has ended; the test that ended it, and what it had not begun goes to others.

        Raises:
            KeyError: it is not known, or was removed already.
        """
        work = self._given.pop(node)
        if work is None or self._tests is None:
            return None
        crashed, *left = self._tests[work.name]
        if left:
            self._tests[work.name] = left
            self._waiting.insert(0, work)
        else:
            del self._tests[work.name]
        self._hand_out()
        return crashed

    def _first_tests(self) -> list[str]:
        assert self._tests is not None
        return [tests[0] for tests in self._tests.values()]

    def _work_of(self, test: str) -> Work:
        """What a test belongs to, by the id of the deployment among its parameters."""
        path, bracket, parameters = test.partition("[")
        for name in self._longest_first if bracket else ():
            if name in parameters:
                return self._planned[name]
        return Work(path.partition("::")[0])

    def _hand_out(self) -> None:
        unfinished = self._tests or {}
        for node, given in self._given.items():
            if given is not None or node not in self._collections or node.shutting_down:
                continue
            held = sum(work.devices for work in self._given.values() if work is not None)
            # Where nothing is held there is nothing to wait for, whatever the next one needs.
            work = next_work(self._waiting, unfinished, self._devices - held if held else math.inf)
            if work is None:
                return
            collection = self._collections[node]
            position = {test: index for index, test in enumerate(collection)}
            tests = [position[test] for test in unfinished[work.name]]
            try:
                node.send_runtest_some([*tests, len(collection)])
            except OSError:
                # It has died, which xdist will tell; its replacement comes here again.
                continue
            self._waiting.remove(work)
            self._given[node] = work

    def _all_collected_the_same(self) -> bool:
        """Whether every worker collected the same; reports what differs."""
        (first, official), *others = self._collections.items()
        same = True
        for node, collection in others:
            difference = report_collection_diff(
                official, collection, first.gateway.id, node.gateway.id
            )
            if difference:
                same = False
                report = pytest.CollectReport(node.gateway.id, "failed", difference, [])
                self.config.hook.pytest_collectreport(report=report)
        return same


def _number_of_workers(config: pytest.Config) -> int:
    # Its name until xdist 3.6, and since.
    before = getattr(workermanage, "parse_spec_config", None)
    return len((before or workermanage.parse_tx_spec_config)(config))
