"""A fleet from its command line to its report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.fleet.agreement import check_agreement
from pytest_qwenvl.fleet.attempt_logs import AttemptLogs
from pytest_qwenvl.fleet.durations import learned_seconds, with_durations
from pytest_qwenvl.fleet.facts import Facts, Question, facts_here
from pytest_qwenvl.fleet.fragment_files import FragmentProblem
from pytest_qwenvl.fleet.head import Head
from pytest_qwenvl.fleet.intake import Intake
from pytest_qwenvl.fleet.joining import merged_record, write_junit, write_report
from pytest_qwenvl.fleet.ledger import ATTEMPTS, Ledger
from pytest_qwenvl.fleet.orders import Order
from pytest_qwenvl.fleet.placing import Host, Job
from pytest_qwenvl.fleet.ray_cluster import RayCluster
from pytest_qwenvl.fleet.request import FleetPlan, Request, read_plan, read_request
from pytest_qwenvl.fleet.state import FleetState, digest_of, open_state
from pytest_qwenvl.report.directory import REPORT_NAME, ReportDirectory
from pytest_qwenvl.report.reading import read_report
from pytest_qwenvl.report.results import RunRecord

_SHIPPED = {"--waivers": "waivers", "--baseline": "baseline"}


@dataclass(frozen=True)
class FleetOptions:
    """What ``pytest-qwenvl fleet`` was given.

    Attributes:
        address: of the Ray cluster.
        arguments: of pytest.
        attempts: how often a deployment is run at most.
        cpu_resource: what stands for virtual devices in the cluster.
        durations: earlier reports to learn from how long deployments take.
        resume: go on with the run in the report directory.
    """

    address: str
    arguments: tuple[str, ...]
    attempts: int = 2
    cpu_resource: str = "qwenvl_cpu_device"
    durations: tuple[Path, ...] = ()
    resume: bool = False


@dataclass(frozen=True)
class _Fleet:
    """Hosts that agree, and what is to be run on them."""

    backend: str
    hosts: list[Host]
    head: Facts
    plan: FleetPlan
    weights: Mapping[str, str]


def run_fleet(options: FleetOptions, say: Callable[[str, str], None]) -> tuple[RunRecord, Path]:
    """Run it all, and give the judged record with the folder of its report.

    Args:
        say: takes a line for whoever watches: the place it is from (empty for the head), text.

    Raises:
        UsageProblem: nothing was started, for the reason it gives.
    """
    from pytest_qwenvl.fleet.connecting import connect

    request = read_request(options.arguments)
    root = request.path("report_directory")
    assert root is not None
    learned = _learned(options.durations, root)
    cluster = RayCluster(connect(options.address), options.cpu_resource)
    try:
        fleet = _agree(request, options, cluster, say)
        # Held until the end: two heads must not write into one folder.
        held = ReportDirectory(root)
        try:
            return _run(options, request, fleet, cluster, learned, root, say), root
        finally:
            held.close()
    finally:
        cluster.close()


def _learned(durations: Sequence[Path], root: Path) -> dict[str, float]:
    reports = [read_report(path) for path in durations]
    if not reports and (root / REPORT_NAME).is_file():
        try:
            reports = [read_report(root)]
        except UsageProblem:
            # Nobody asked for it to be read.
            return {}
    return learned_seconds(reports)


def _agree(
    request: Request,
    options: FleetOptions,
    cluster: RayCluster,
    say: Callable[[str, str], None],
) -> _Fleet:
    """Hosts with what they have, and the plan for them; nothing was placed yet."""
    backend, hosts = cluster.hosts(str(request.config["backend"]))
    question = Question(
        config=request.config,
        suite=request.suite,
        backend="npu" if backend == "npu" else "cpu",
        profiles=request.profiles,
    )
    answers = cluster.ask(question, hosts)
    # A node that died a moment ago may have been listed still.
    alive = cluster.alive()
    hosts = [host for host in hosts if host.id in alive] or hosts
    answers = {host.name: answers[host.name] for host in hosts}
    head = facts_here(question, engine=False)
    models = sorted({model for its in answers.values() if isinstance(its, Facts)
                     for model in its.weights})  # fmt: skip
    for line in check_agreement(head, answers, models):
        say("", line)
    fit = []
    weights: dict[str, str] = {}
    for host in hosts:
        its = answers[host.name]
        assert isinstance(its, Facts)
        weights |= its.weights
        fit.append(replace(host, hardware=its.hardware, models=frozenset(its.weights)))
    largest = max(host.devices for host in fit)
    asked = request.config["npus"]
    total = sum(host.devices for host in fit)
    if asked is not None and asked > total:
        raise UsageProblem(
            f"--npus {asked}: the hosts of this fleet have {total} devices together; ask for at "
            f"most {total}"
        )
    plan = read_plan(
        options.arguments,
        question.backend,
        largest if asked is None else min(largest, asked),
        models,
    )
    if not plan.jobs:
        raise UsageProblem("fleet: these pytest arguments select no deployment; nothing was placed")
    return _Fleet(backend, fit, head, plan, weights)


def _run(
    options: FleetOptions,
    request: Request,
    fleet: _Fleet,
    cluster: RayCluster,
    learned: Mapping[str, float],
    root: Path,
    say: Callable[[str, str], None],
) -> RunRecord:
    plan = fleet.plan
    files = _files(request)
    state = open_state(root, options.arguments, _inputs(request, fleet, files),
                       resume=options.resume)  # fmt: skip
    ledger = Ledger(
        root / ATTEMPTS, options.attempts, {name: len(its) for name, its in plan.claims.items()}
    )
    intake = Intake(
        root,
        state.fleet,
        plan.suite_version,
        plan.catalogue_version,
        plan.requirements,
        fleet.head.suite_digest,
        {job.id: plan.claims[job.id] for job in plan.jobs},
    )
    jobs = [job for job in with_durations(plan.jobs, learned)
            if not _kept(job, ledger, intake, say)]  # fmt: skip
    logs = AttemptLogs(root, say)
    head = Head(
        jobs,
        fleet.hosts,
        cluster,
        lambda job, number: _order(job, number, state, request, fleet, files),
        intake,
        ledger,
        most=request.config["npus"] or math.inf,
        say=logs.say,
    )
    unfinished = merged_record(root, state, plan, fleet.backend, {}, ledger, complete=False)
    try:
        # Should this head be lost, its report says of everything that it was never judged.
        write_report(root, unfinished, page=False)
        head.run()
    except OSError as error:
        raise UsageProblem(f"{root}: cannot be written: {error}; free some space") from error
    finally:
        intake.close()
        logs.close()
    record = merged_record(
        root,
        state,
        plan,
        fleet.backend,
        intake.taken,
        ledger,
        not_run=head.not_run,
        npus=head.most_held,
        interrupted=head.interrupted,
    )
    try:
        write_report(root, record)
        if request.junit:
            write_junit(root, list(intake.taken), Path(request.junit))
    except OSError as error:
        raise UsageProblem(
            f"{root}: the report cannot be written: {error}; free some space and write it with "
            "--resume: every fragment is there"
        ) from error
    return record


def _kept(job: Job, ledger: Ledger, intake: Intake, say: Callable[[str, str], None]) -> bool:
    """Whether an earlier head of this run had taken a fragment of a job, which still holds."""
    its = [one for one in ledger.records
           if f"{one.model}/{one.deployment}" == job.id and one.outcome == "taken"]  # fmt: skip
    if not its:
        return False
    try:
        intake.take_again(job.id, its[-1].number)
    except FragmentProblem as problem:
        say("", f"{job.id}: runs again: {problem}")
        return False
    say("", f"{job.id}: kept from attempt {its[-1].number} on {its[-1].node}")
    return True


def _files(request: Request) -> dict[str, bytes]:
    """Files on the head that options name, which no node has."""
    found = {}
    for option, name in _SHIPPED.items():
        path = request.path(name)
        if path is not None:
            place = path / REPORT_NAME if path.is_dir() else path
            try:
                found[option] = place.read_bytes()
            except OSError as error:
                raise UsageProblem(f"{option} {place}: cannot be read: {error.strerror}") from error
    return found


def _inputs(request: Request, fleet: _Fleet, files: Mapping[str, bytes]) -> dict[str, str]:
    plan = fleet.plan
    return {
        "version of pytest-qwenvl": plan.suite_version,
        "suite": fleet.head.suite_digest,
        "command line": digest_of([request.arguments, sorted(plan.claims.items())]),
        "profile": digest_of(plan.profiles),
        "copy of the weights": digest_of({name: its for name, its in fleet.weights.items()
                                          if name in plan.profiles}),
        "waivers or baseline file": digest_of({name: its.hex() for name, its in files.items()}),
    }  # fmt: skip


def _order(
    job: Job,
    number: int,
    state: FleetState,
    request: Request,
    fleet: _Fleet,
    files: Mapping[str, bytes],
) -> Order:
    model, _, deployment = job.id.partition("/")
    return Order(
        fleet=state.fleet,
        model=model,
        deployment=deployment,
        number=number,
        devices=job.devices,
        backend=fleet.backend,
        directory=str(Path.cwd()),
        arguments=request.arguments,
        files=files,
        junit=bool(request.junit),
        suite_digest=fleet.head.suite_digest,
    )
