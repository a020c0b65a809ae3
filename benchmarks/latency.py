"""Whether a slower server is told from the same server, on the real engine and a real host.

A proxy before the engine plants the slowness. ``QWENVL_BENCHMARK_ENDPOINT`` names a running server
of the reference model; without it one is started. ``QWENVL_BENCHMARK_LOADS`` names a folder that
keeps every load, to be judged again without making it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from pytest_qwenvl.config import Config
from pytest_qwenvl.devices.inventory import take_inventory
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.load_making import run_bench
from pytest_qwenvl.measure.bench_result import LoadResult
from pytest_qwenvl.measure.latency_baseline import judge_against_baseline
from pytest_qwenvl.measure.load_evidence import as_evidence, load_from
from pytest_qwenvl.planning import Plan, PlannedDeployment, make_plan
from pytest_qwenvl.profile_latency import LatencyMargin, LatencyWorkload
from pytest_qwenvl.profile_loading import load_profiles
from pytest_qwenvl.report.progress import StepProgress
from pytest_qwenvl.report.results import Outcome
from pytest_qwenvl.weights import find_weights
from tests.defects.messages import Request
from tests.defects.planting import Planted
from tests.defects.proxy import Proxy

ROOT = Path(__file__).resolve().parents[1]
MODEL = "qwen3-vl-tiny"
TRIES = 20
PLANTED_TRIES = 3
SLOWER = 0.2  # share of the time to the first token
STALL = 1.0  # seconds
STALLED = 20  # one request in so many


class LaterFirstTokens(Planted):
    """Every first token comes a fifth later than the engine has it."""

    def events(self, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
        """Hold the first event back."""
        began = time.monotonic()
        first = next(events, None)
        if first is not None:
            time.sleep(SLOWER * (time.monotonic() - began))
            yield first
        yield from events


class Stalls(Planted):
    """One stream in twenty begins a second late."""

    def events(self, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
        """Hold the beginning back, of every twentieth stream."""
        with self.lock:
            self.kept["streams"] = self.kept.get("streams", 0) + 1
            stalled = self.kept["streams"] % STALLED == 0
        if stalled:
            time.sleep(STALL)
        yield from events


PLANTS: dict[str, type[Planted]] = {
    "same": Planted,
    "later": LaterFirstTokens,
    "stalls": Stalls,
}


def measure() -> list[Figure]:
    """How often the same server is called different, and a slower one is not found."""
    with contextlib.ExitStack() as stack:
        kept = os.environ.get("QWENVL_BENCHMARK_LOADS")
        folder = Path(kept or stack.enter_context(tempfile.TemporaryDirectory()))
        loads = collect(folder)
    workload = workload_of(planned_deployment(_plan(Config(models=(MODEL,)))))
    same = loads["same"]
    figures = [
        _figure("the same server twice, called slower", same[:-1], same[1:], workload, Outcome.FAIL)
    ]
    for name, what in (
        ("later", "first tokens 20 % later"),
        ("stalls", "one stall in 20 requests"),
    ):
        # Each beside the load of the unspoilt server that was made just before it.
        figures.append(
            _figure(f"{what}, not found", same[: len(loads[name])], loads[name], workload, None)
        )
    return figures


def _figure(
    what: str,
    before: list[LoadResult],
    after: list[LoadResult],
    workload: LatencyWorkload,
    wrong: Outcome | None,
) -> Figure:
    outcomes = []
    for old, new in zip(before, after, strict=True):
        judgement = judge_against_baseline(new, old, workload)
        print(f"  {judgement.outcome.value}: {judgement.sentence}", flush=True)
        outcomes.append(judgement.outcome)
    count = outcomes.count(wrong) if wrong else len(outcomes) - outcomes.count(Outcome.FAIL)
    return Figure(f"{what}, of {len(outcomes)} tries", count, 0, "tries")


def planned_deployment(plan: Plan) -> PlannedDeployment:
    """The reference model as one device serves it."""
    return next(it for it in plan.deployments if it.deployment.name == "serve-1npu")


def _plan(config: Config) -> Plan:
    profiles = load_profiles((ROOT / "conformance" / "profiles",))
    return make_plan(config, profiles, take_inventory("cpu"), lambda it: find_weights(it, None))


def workload_of(planned: PlannedDeployment) -> LatencyWorkload:
    """The profile's load of pictures, with enough requests to see one in twenty."""
    image = next(it for it in planned.profile.latency if it.images_per_request)
    margin = LatencyMargin(value=0.05, source="small enough to find a fifth in 200 requests")
    return image.model_copy(update={"num_prompts": 200, "request_rate": 5.0, "margin": margin})


def collect(folder: Path) -> dict[str, list[LoadResult]]:
    """Make the loads that ``folder`` lacks, each kind in turn, and read them all."""
    wanted = [
        (name, number)
        for number in range(TRIES + 1)
        for name in PLANTS
        if name == "same" or number < PLANTED_TRIES
    ]
    missing = [it for it in wanted if not _path(folder, *it).exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        _make(folder, missing)
    loads: dict[str, list[LoadResult]] = {name: [] for name in PLANTS}
    for name, number in wanted:
        loads[name].append(load_from(json.loads(_path(folder, name, number).read_text())))
    return loads


def _path(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}-{number:02}.json"


def _make(folder: Path, wanted: list[tuple[str, int]]) -> None:
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = Config(models=(MODEL,))
        plan = _plan(config)
        planned = planned_deployment(plan)
        workload = workload_of(planned)
        url = os.environ.get("QWENVL_BENCHMARK_ENDPOINT")
        if url is None:
            session = _session(config, plan, work)
            lease = stack.enter_context(session.lease(planned))
            stack.callback(session.stop)
            url = session.start_server(planned, lease).base_url
        for name, number in wanted:
            # Another seed for each load: the engine keeps what it has seen.
            seed = 1000 * (1 + list(PLANTS).index(name)) + number
            session = _session(config.model_copy(update={"load_seed": seed}), plan, work)
            proxy = Proxy(url, PLANTS[name]())
            try:
                load = run_bench(session, planned, None, Endpoint(proxy.url, MODEL), workload)
            finally:
                proxy.stop()
            _path(folder, name, number).write_text(json.dumps(as_evidence(load)))


def _session(config: Config, plan: Plan, folder: Path) -> EngineSession:
    return EngineSession(config, plan, folder, lambda title: StepProgress(title, None), "benchmark")
