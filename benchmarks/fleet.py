"""The head of a fleet at work on 100 hosts, without the hosts.

The head, its placing, ledger, intake and joining are the real ones. Behind the small interface that
Ray has for it stands a fake: hosts whose hours pass at once, and which refuse to hold more devices
than they have. Fragments are real archives of real reports, made before the clock runs. Measured in
a process of its own, for its memory.
"""

from __future__ import annotations

import heapq
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.figures import Figure
from pytest_qwenvl.fleet.fragment_files import Manifest, pack
from pytest_qwenvl.fleet.head import Head
from pytest_qwenvl.fleet.intake import Intake
from pytest_qwenvl.fleet.joining import merged_record, write_report
from pytest_qwenvl.fleet.ledger import ATTEMPTS, Ledger
from pytest_qwenvl.fleet.orders import Ended, Event, Lost, Order, Piece, Said
from pytest_qwenvl.fleet.placing import Host, Job, lower_bound
from pytest_qwenvl.fleet.request import FleetPlan
from pytest_qwenvl.fleet.state import FleetState
from pytest_qwenvl.report.results import Outcome, Requirement, Result, RunRecord, Verdict

ROOT = Path(__file__).resolve().parents[1]
_MODELS = 100
_REQUIREMENTS = 220
_HOSTS = 100
_CROWDED_HOSTS = 24
_SUITE = "digest-of-the-suite"
_FLEET = "fleet-simulated"
# Deployments of a model: name, times as many NPUs, minutes as a share of the model's.
_DEPLOYMENTS = (("offline", 1, 0.5), ("serve", 1, 1.0), ("wide", 2, 0.8))


def measure() -> list[Figure]:
    """Makespans, head time, merge time and memory."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fleet"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    print(f"       {found['told']}", flush=True)
    return [
        Figure(
            "makespan of 300 deployments on 100 hosts, by the bound", found["wide"], 1.1, "times"
        ),
        Figure(
            f"the same on {_CROWDED_HOSTS} hosts, several waves", found["crowded"], 1.1, "times"
        ),
        Figure("head time a deployment", found["head_ms"], 50, "ms"),
        Figure("merge of 300 fragments", found["merge_s"], 5, "s"),
        Figure("peak memory of the head", found["memory_mb"], 1000, "MB"),
    ]


@dataclass
class FakeCluster:
    """Hosts whose time passes at once; each holds what it has and no more.

    Attributes:
        now: seconds of the simulated clock.
        busy: real seconds spent in here, which are not the head's.
        lose: id of a host that dies in the middle, and when.
    """

    hosts: Sequence[Host]
    seconds: dict[str, float]
    archives: dict[str, tuple[list[bytes], str]] = field(default_factory=dict)
    now: float = 0.0
    busy: float = 0.0
    dying: tuple[str, float] = ("", 0.0)

    def __post_init__(self) -> None:
        self._free = {host.id: host.devices for host in self.hosts}
        self._queue: list[tuple[float, int, Order, str, int]] = []
        self._begun = 0

    def alive(self) -> set[str]:
        """Ids of the hosts that live."""
        return set(self._free)

    def begin(self, order: Order, host: Host, devices: int) -> Hashable:
        """Take the devices until the simulated end."""
        self._free[host.id] -= devices
        if self._free[host.id] < 0:
            raise SystemExit(f"{order.id} was placed on {host.id}, which has no {devices} free")
        self._begun += 1
        end = self.now + self.seconds[order.id]
        heapq.heappush(self._queue, (end, self._begun, order, host.id, devices))
        return self._begun

    def events(self, timeout: float) -> list[tuple[Hashable, Event]]:
        """The next end, with its fragment; or the death of a host, with all it ran."""
        began = time.perf_counter()
        try:
            victim, at = self.dying
            if victim and self._queue[0][0] >= at:
                self.now, self.dying = at, ("", 0.0)
                del self._free[victim]
                gone = [one for one in self._queue if one[3] == victim]
                self._queue = [one for one in self._queue if one[3] != victim]
                heapq.heapify(self._queue)
                return [(one[1], Lost("NodeDiedError: simulated")) for one in gone]
            self.now, handle, order, host, devices = heapq.heappop(self._queue)
            self._free[host] += devices
            pieces, digest = self.archives[order.id]
            lines = tuple(f"line {n} of a child pytest" for n in range(20))
            return [
                (handle, Said(lines, 10)),
                *((handle, Piece(data)) for data in pieces),
                (handle, Ended(digest)),
            ]
        finally:
            self.busy += time.perf_counter() - began

    def cancel(self, handle: Hashable) -> None:
        """Nothing runs."""


def jobs_of(chance: random.Random) -> list[Job]:
    """300 deployments of models of several sizes, the largest on 16 NPUs."""
    found = []
    for number in range(_MODELS):
        model = f"model-{number:03}"
        npus = chance.choices((1, 2, 4, 8), weights=(50, 25, 17, 8))[0]
        minutes = chance.uniform(20, 60) * (1 + npus / 8)
        for name, times, share in _DEPLOYMENTS:
            seconds = minutes * share * 60
            found.append(Job(f"{model}/{name}", model, npus * times, seconds))
    return found


def hosts_of(count: int, chance: random.Random) -> list[Host]:
    """Hosts of 8 to 16 NPUs with all weights."""
    models = frozenset(f"model-{number:03}" for number in range(_MODELS))
    return [
        Host(f"id{n}", f"host-{n:03}", chance.choice((8, 8, 16)), models=models)
        for n in range(count)
    ]


def makespan(jobs: Sequence[Job], count: int, folder: Path, archives: bool) -> _Run:
    """Run a fleet to its end; durations differ from the estimates by up to 8 %."""
    chance = random.Random(0)
    hosts = hosts_of(count, chance)
    seconds = {job.id: job.seconds * chance.uniform(0.92, 1.08) for job in jobs}
    plan = _plan(jobs)
    packed = {job.id: _archive(job, plan, folder) for job in jobs} if archives else {}
    cluster = FakeCluster(hosts, seconds, packed or {job.id: ([b""], "") for job in jobs})
    root = folder / f"report-{count}"
    root.mkdir()
    intake = Intake(root, _FLEET, plan.suite_version, plan.catalogue_version, plan.requirements,
                    _SUITE, plan.claims)  # fmt: skip
    ledger = Ledger(root / ATTEMPTS if archives else None, 1, {})
    head = Head(jobs, hosts, cluster, _order, intake, ledger, clock=lambda: cluster.now)
    began = time.perf_counter()
    head.run()
    spent = time.perf_counter() - began - cluster.busy
    actual = [replace(job, seconds=seconds[job.id]) for job in jobs]
    return _Run(cluster.now, lower_bound(actual, hosts), spent, root, plan, intake, ledger)


@dataclass(frozen=True)
class _Run:
    seconds: float
    bound: float
    head_seconds: float
    root: Path
    plan: FleetPlan
    intake: Intake
    ledger: Ledger


def _order(job: Job, number: int) -> Order:
    model, _, deployment = job.id.partition("/")
    return Order(_FLEET, model, deployment, number, job.devices, "npu", "/", ())


def _plan(jobs: Sequence[Job]) -> FleetPlan:
    requirements = [
        Requirement(
            id=f"QVL-SIM-{n:03}",
            group="serve",
            level="core",
            since="1.0",
            must=f"The server MUST keep rule {n}, as clients of the API expect it of any server.",
            rationale="Clients rely on it, and what departs from it breaks them at night.",
            source="made up for the benchmark",
        )
        for n in range(_REQUIREMENTS)
    ]
    claims = {job.id: tuple(f"{job.id} {its.id}" for its in requirements) for job in jobs}
    return FleetPlan("0", "1.0", requirements, {}, "", (), tuple(jobs), claims)


def _archive(job: Job, plan: FleetPlan, folder: Path) -> tuple[list[bytes], str]:
    """A fragment as a node would send it, a good 300 KB of report in it."""
    import hashlib

    model, _, deployment = job.id.partition("/")
    report = folder / "made" / job.id
    report.mkdir(parents=True)
    record = RunRecord(
        suite_version="0",
        catalogue_version="1.0",
        run_id=f"run-{model}-{deployment}",
        started=1.0,
        finished=2.0,
        complete=True,
        backend="npu",
        npus=job.devices,
        host={"cpu": "x", "cores": 192},
        versions={"vllm": "0.23.0"},
        requirements=plan.requirements,
        planned=list(plan.claims[job.id]),
        results=[
            Result(
                requirement=its.id,
                group="serve",
                level="core",
                test=f"conformance/test_it.py::test_it[{job.id}]",
                model=model,
                deployment=deployment,
                outcome=Outcome.PASS,
                evidence={"answers": ["a line of an answer"] * 20, "status": 200},
            )
            for its in plan.requirements
        ],
        verdict=Verdict.CONFORMANT,
    )
    (report / "report.json").write_text(record.model_dump_json(indent=2))
    (report / "pytest.log").write_text("a line of a log\n" * 2000)
    manifest = Manifest(fleet=_FLEET, model=model, deployment=deployment, number=1,
                        suite_digest=_SUITE, files={})  # fmt: skip
    pieces = list(pack(report, manifest))
    return pieces, hashlib.sha256(b"".join(pieces)).hexdigest()


def main() -> None:
    """Measure, and print the figures as JSON."""
    jobs = jobs_of(random.Random(0))
    with tempfile.TemporaryDirectory(prefix="qwenvl-fleet-benchmark-") as name:
        folder = Path(name)
        wide = makespan(jobs, _HOSTS, folder, archives=True)
        if len(wide.intake.taken) != len(jobs):
            raise SystemExit(f"{len(wide.intake.taken)} of {len(jobs)} fragments were taken")
        began = time.perf_counter()
        state = FleetState(fleet=_FLEET, started=0.0, arguments=(), inputs={})
        record = merged_record(
            wide.root, state, wide.plan, "npu", wide.intake.taken, wide.ledger, npus=1200
        )
        write_report(wide.root, record, page=False)
        merged = time.perf_counter() - began
        if record.verdict is not Verdict.CONFORMANT:
            raise SystemExit(record.verdict_sentence)
        began = time.perf_counter()
        write_report(wide.root, record)
        page = time.perf_counter() - began
        crowded = makespan(jobs, _CROWDED_HOSTS, folder, archives=False)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "wide": wide.seconds / wide.bound,
                "crowded": crowded.seconds / crowded.bound,
                "head_ms": 1000 * wide.head_seconds / len(jobs),
                "merge_s": merged,
                "memory_mb": memory,
                "told": f"simulated: {wide.seconds / 60:.0f} min on {_HOSTS} hosts (at least "
                f"{wide.bound / 60:.0f}), {crowded.seconds / 60:.0f} min on {_CROWDED_HOSTS} (at "
                f"least {crowded.bound / 60:.0f}); report {len(record.results)} results, its page "
                f"drawn in {page:.1f} s",
            }
        )
    )


if __name__ == "__main__":
    main()
