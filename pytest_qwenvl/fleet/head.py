"""The head of a fleet: places deployments, takes fragments, runs again what was lost."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.fleet.fragment_files import FragmentProblem
from pytest_qwenvl.fleet.intake import Intake
from pytest_qwenvl.fleet.ledger import Ledger, sentence
from pytest_qwenvl.fleet.orders import Ended, Event, Lost, Order, Piece, Said
from pytest_qwenvl.fleet.placing import Busy, Host, Job, devices_on, in_order, place, why_not
from pytest_qwenvl.report.results import NotRun

_LOOK = 1.0  # seconds that the head waits for events at most
_HOSTS_INTERVAL = 15.0  # seconds between looks at which hosts live
_MOST_REASONS = 4


class Cluster(Protocol):
    """What the head needs of whatever runs orders; Ray is one such, a benchmark's fake another."""

    def alive(self) -> set[str]:
        """Ids of the hosts that live."""

    def begin(self, order: Order, host: Host, devices: int) -> Hashable:
        """Have a host run an order, with so many devices taken from others; gives its handle."""

    def events(self, timeout: float) -> Sequence[tuple[Hashable, Event]]:
        """What has happened, waited for at most so many seconds; ``Ended`` and ``Lost`` are last
        words."""

    def cancel(self, handle: Hashable) -> None:
        """End an order that runs, and everything it has started."""


@dataclass
class _Running:
    job: Job
    order: Order
    host: Host
    until: float
    judged: int = 0


class Head:
    """Runs every job of a fleet once, or as often as it takes.

    Args:
        jobs: what is to be run.
        hosts: every host that was found fit.
        order: what a node is sent for an attempt: job, number.
        intake: takes the fragments; ``ledger``: keeps the attempts.
        most: devices that the fleet may hold at once.
        say: takes a line for whoever watches: the place it is from (empty for the head), text.
        clock: seconds, monotonic.

    Attributes:
        not_run: what no host ran, and why.
        interrupted: why the head ended early; else empty.
        most_held: devices that were held at once at most.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        hosts: Sequence[Host],
        cluster: Cluster,
        order: Callable[[Job, int], Order],
        intake: Intake,
        ledger: Ledger,
        *,
        most: float = math.inf,
        say: Callable[[str, str], None] = lambda place, text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting = in_order(jobs)
        self._hosts = list(hosts)
        self._cluster = cluster
        self._order = order
        self._intake = intake
        self._ledger = ledger
        self._most = most
        self._say = say
        self._clock = clock
        self._running: dict[Hashable, _Running] = {}
        self._looked = clock()
        self._changed = True
        self._done = 0
        self.not_run: list[NotRun] = []
        self.interrupted = ""
        self.most_held = 0

    def run(self) -> None:
        """Run everything; returns when nothing is under way any more, whatever happened."""
        try:
            while self._waiting or self._running:
                self._place()
                if not self._running:
                    self._give_up()
                    break
                for handle, event in self._cluster.events(_LOOK):
                    self._take(handle, event)
                if self._clock() - self._looked >= _HOSTS_INTERVAL:
                    self._look()
        except KeyboardInterrupt:
            self.interrupted = "interrupted by the user (Ctrl-C)"
        except OSError as error:
            self.interrupted = (
                f"the head could not write to its own disk: {error}; free some space and go on "
                "with --resume"
            )
        finally:
            self._end_all()

    def _place(self) -> None:
        if not (self._changed and self._waiting):
            return
        self._changed = False
        placed = place(
            self._waiting,
            self._hosts,
            self._busy(),
            self._clock(),
            most=self._most,
            avoided=self._ledger.lost_on,
            trouble=self._ledger.trouble,
        )
        for job, host in placed:
            order = self._order(job, self._ledger.next_number(job.id))
            self._ledger.begin(order, host)
            handle = self._cluster.begin(order, host, devices_on(job, host))
            self._waiting.remove(job)
            self._running[handle] = _Running(job, order, host, self._clock() + job.seconds)
            self._say("", f"{job.id}: attempt {order.number} goes to {host.name}")
        self.most_held = max(self.most_held, sum(one.devices for one in self._busy()))

    def _busy(self) -> Iterator[Busy]:
        for one in self._running.values():
            yield Busy(one.host.id, devices_on(one.job, one.host), one.until)

    def _take(self, handle: Hashable, event: Event) -> None:
        one = self._running.get(handle)
        if one is None:
            return
        if isinstance(event, Said):
            one.judged = event.judged
            for line in event.lines:
                self._say(f"{one.host.name} {one.order.id}", line)
        elif isinstance(event, Piece):
            self._intake.add(one.order, event.data)
        else:
            self._over(handle, one, event)

    def _over(self, handle: Hashable, one: _Running, event: Ended | Lost) -> None:
        del self._running[handle]
        self._changed = True
        reason = event.reason if isinstance(event, Lost) else event.problem
        if isinstance(event, Ended) and event.digest:
            try:
                record = self._intake.finish(one.order, event.digest)
            except FragmentProblem as problem:
                reason = f"its fragment is not taken: {problem}"
            else:
                self._done += 1
                self._ledger.take(one.order, len(record.results))
                self._say("", f"{one.order.id}: {record.verdict.value}, on {one.host.name}")
                return
        self._intake.forget(one.order)
        self._say("", sentence(self._ledger.lose(one.order, one.host, reason, one.judged)))
        self._look()
        if not self._ledger.given_up(one.job.id):
            self._waiting = in_order([*self._waiting, one.job])
            return
        times = self._ledger.times_lost(one.job.id)
        self._leave_out(one.job, f"lost {times} times (--attempts), at last: {reason}")

    def _look(self) -> None:
        """See which hosts are left."""
        self._looked = self._clock()
        alive = self._cluster.alive()
        gone = [host.name for host in self._hosts if host.id not in alive]
        if gone:
            self._hosts = [host for host in self._hosts if host.id in alive]
            self._changed = True
            self._say("", f"lost from the cluster: {', '.join(gone)}; {len(self._hosts)} left")

    def _give_up(self) -> None:
        """Nothing is under way, and nothing that waits fits anywhere."""
        for job in self._waiting:
            whys = [f"{host.name} {why_not(job, host)}" for host in self._hosts]
            if len(whys) > _MOST_REASONS:
                whys = [*whys[:_MOST_REASONS], f"and {len(whys) - _MOST_REASONS} more hosts"]
            reason = "; ".join(whys) or "no host of the fleet is left"
            self._leave_out(job, f"no host can run it: {reason}")
        self._waiting = []

    def _leave_out(self, job: Job, reason: str) -> None:
        model, _, deployment = job.id.partition("/")
        reason = " ".join(reason.split())
        self.not_run.append(NotRun(model=model, deployment=deployment, reason=reason))
        self._say("", f"{job.id}: given up: {reason}")

    def _end_all(self) -> None:
        for handle, one in list(self._running.items()):
            with contextlib.suppress(OSError, UsageProblem):
                self._cluster.cancel(handle)
            self._intake.forget(one.order)
            with contextlib.suppress(OSError):
                self._ledger.lose(one.order, one.host, self.interrupted or "ended", one.judged)
        self._running.clear()
        if self.interrupted:
            for job in self._waiting:
                self._leave_out(job, self.interrupted)
