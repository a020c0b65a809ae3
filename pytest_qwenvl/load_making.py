"""Making a load with vLLM's bench, and looking at the engine and the host meanwhile."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.errors import EngineError
from pytest_qwenvl.live import progress_of
from pytest_qwenvl.measure.host_share import HostTimes, host_times, share_between
from pytest_qwenvl.measure.surroundings import (
    Surroundings,
    between,
    counted,
    running_tasks,
)
from pytest_qwenvl.measuring import empty_directory, run_program
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile_latency import LatencyWorkload
from pytest_qwenvl.protocol.prometheus import Metrics, read_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_qwenvl.engines.endpoint import Endpoint
    from pytest_qwenvl.measure.bench_result import LoadResult
    from pytest_qwenvl.report.progress import StepProgress

# Seconds: the engine writes its counters after an answer went out, within a step of it.
_SETTLING = 10.0
_LOOK_AGAIN = 0.1
# Seconds between looks at the engine during a load: seldom, since each costs it a request.
_WATCH_INTERVAL = 5.0
_RUNNING = ("vllm:num_requests_running", "vllm:num_requests_waiting")


def run_bench(
    session: EngineSession,
    planned: PlannedDeployment,
    lease: Lease | None,
    server: Endpoint,
    workload: LatencyWorkload,
) -> LoadResult:
    """Warm the server up, make the workload's load with ``vllm bench serve`` and read its result.

    Raises:
        MeasurementError: the program failed, or left no result that can be judged.
        EngineError: the server did not answer a warm-up request.
        UsageProblem: the profile sets an option that is not a profile's to set.
    """
    from pytest_qwenvl.engines.command import Launch
    from pytest_qwenvl.measure.bench_command import RESULT_FILENAME, bench_arguments
    from pytest_qwenvl.measure.bench_result import read_bench

    seed = session.config.load_seed
    directory = empty_directory(session.directory_of(planned) / f"bench-{workload.name}")
    arguments = bench_arguments(
        workload,
        base_url=server.base_url,
        model=server.model,
        tokenizer=planned.weights or server.model,
        result_directory=directory,
        seed=seed,
    )
    environment = {**session.environment(), "VLLM_NO_USAGE_STATS": "1"}
    if planned.weights is not None:
        environment["HF_HUB_OFFLINE"] = "1"
    if server.api_key:
        environment["OPENAI_API_KEY"] = server.api_key
    python = str(session.interpreter.path)
    launch = Launch((python, "-m", "vllm.entrypoints.cli.main", *arguments), environment)
    log = directory / "bench.log"
    with session.steps(f"{planned.id}: load {workload.name}") as step:
        warm_up(server, workload, seed, step)
        # Whose processes are whose is seen only where all of them are below this one.
        ours = session.plan.endpoint is None and session.container is None
        watch = LoadWatch(
            server, workload.num_prompts, step, times=host_times if ours else lambda: None
        )
        step.update("the client starts")
        run_program(session, "bench", planned, launch, lease, log, workload.timeout, watch.on_line)
        around = watch.surroundings()
    return replace(
        read_bench(directory / RESULT_FILENAME),
        workload=workload.name,
        hardware=session.plan.inventory.hardware,
        npus=planned.deployment.npus,
        seed=seed,
        surroundings=around,
    )


def warm_up(server: Endpoint, workload: LatencyWorkload, seed: int, step: StepProgress) -> None:
    """Send the workload's warm-up requests, those of one size at once.

    Raises:
        EngineError: one was not answered with 200.
    """
    from concurrent.futures import ThreadPoolExecutor

    from pytest_qwenvl.measure.warm_up import warm_up_requests

    step.update("warming up")
    with ThreadPoolExecutor(max(1, workload.warm_ups)) as pool:
        answers = pool.map(
            lambda request: server.request(
                "POST", request[0], json=request[1], timeout=workload.timeout
            ),
            warm_up_requests(workload, server.model, seed),
        )
        for answer in answers:
            if answer.status_code != 200:
                raise EngineError(
                    f"load {workload.name!r}: a warm-up request was answered with HTTP "
                    f"{answer.status_code}: {answer.text[:500]}"
                )


class LoadWatch:
    """Looks at the engine's counters before and after a load, and tells how far it is.

    Args:
        expected: requests of the load, after which its counters are complete.
        step: to which progress is told.
        clock: seconds, monotonic.
        times: what the host's processors did until now; None where it cannot be told apart.
    """

    def __init__(
        self,
        server: Endpoint,
        expected: int,
        step: StepProgress,
        clock: Callable[[], float] = time.monotonic,
        times: Callable[[], HostTimes | None] = lambda: None,
    ) -> None:
        self._server = server
        self._expected = expected
        self._step = step
        self._clock = clock
        self._times = times
        self._began: HostTimes | None = None
        self._unreadable = ""
        self._looked = clock()
        self._running: list[float] = []
        self._latency = ""
        self._before = self._settled(lambda metrics: not any(map(metrics.total, _RUNNING)))

    def on_line(self, line: str) -> None:
        """Take in a line of the client's output."""
        progress = progress_of(line)
        if progress is None:
            return
        now = self._clock()
        # The bar is drawn from the first request on: what was before was the client's start.
        self._began = self._began or self._times()
        running = running_tasks()
        if running is not None:
            self._running.append(running)
        if now - self._looked >= _WATCH_INTERVAL:
            self._looked = now
            self._latency = self._mean_ttft()
        self._step.update(f"{progress}{self._latency}")

    def surroundings(self) -> Surroundings:
        """What was counted since the watch began; to be asked for when the load is over."""
        running = sum(self._running) / len(self._running) if self._running else None
        share = share_between(self._began, self._times() if self._began else None)
        host = (running, share.others, share.stolen) if share else (running, None, None)
        if self._before is None:
            return Surroundings(None, self._unreadable, *host)
        after = self._settled(lambda metrics: self._finished(metrics) >= self._expected)
        if after is None:
            return Surroundings(None, self._unreadable, *host)
        model = self._server.model
        rose = between(counted(self._before, model), counted(after, model))
        return Surroundings(rose, "", *host)

    def _finished(self, metrics: Metrics) -> float:
        assert self._before is not None
        model = self._server.model
        return between(counted(self._before, model), counted(metrics, model)).get("requests", 0.0)

    def _mean_ttft(self) -> str:
        metrics = self._look()
        if self._before is None or metrics is None:
            return ""
        model = self._server.model
        rose = between(counted(self._before, model), counted(metrics, model))
        if not rose.get("first_tokens"):
            return ""
        return f", mean TTFT {1000 * rose.get('ttft_seconds', 0.0) / rose['first_tokens']:.0f} ms"

    def _settled(self, done: Callable[[Metrics], bool]) -> Metrics | None:
        """The metrics once ``done`` says so, or after the time they have to settle."""
        deadline = self._clock() + _SETTLING
        while True:
            metrics = self._look()
            if metrics is None or done(metrics) or self._clock() >= deadline:
                return metrics
            time.sleep(_LOOK_AGAIN)

    def _look(self) -> Metrics | None:
        import requests

        try:
            response = self._server.request("GET", "/metrics")
            if response.status_code != 200:
                self._unreadable = f"/metrics answered HTTP {response.status_code}"
                return None
            return read_metrics(response.text)
        except (requests.RequestException, ValueError) as problem:
            self._unreadable = f"/metrics: {problem}"
            return None
