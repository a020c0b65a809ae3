"""The public fixtures: a lease, engines on it, clients, measuring programs, evidence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.errors import DevicesLostError, EngineStartError
from pytest_qwenvl.outcomes import EVIDENCE, Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.profile_latency import LatencyWorkload, OfflineBench

if TYPE_CHECKING:
    from openai import OpenAI

    from pytest_qwenvl.capabilities import Capabilities
    from pytest_qwenvl.engines.endpoint import Endpoint
    from pytest_qwenvl.engines.offline import OfflineLLM
    from pytest_qwenvl.measure.bench_result import LoadResult
    from pytest_qwenvl.measure.lm_eval_result import Evaluation
    from pytest_qwenvl.measure.offline_bench import OfflineFigures
    from pytest_qwenvl.report.measurements import Measurements

# Why the engine of a deployment did not start: it is started once, and so fails once.
_FAILED = pytest.StashKey[dict[str, EngineStartError]]()


@pytest.fixture(scope="session")
def engine_session(request: pytest.FixtureRequest) -> EngineSession:
    """The engines of this run; for suites that need more than the fixtures below."""
    from pytest_qwenvl.run import engine_session_of

    return engine_session_of(request.config)


@pytest.fixture(scope="session")
def deployment(request: pytest.FixtureRequest) -> PlannedDeployment:
    """The deployment a test was parametrised with: its profile, arguments and weights."""
    planned: PlannedDeployment = request.param
    return planned


@pytest.fixture(scope="session")
def npu_lease(
    deployment: PlannedDeployment, engine_session: EngineSession
) -> Iterator[Lease | None]:
    """The deployment's devices, exclusively, for as long as its tests run.

    None for an attached server, whose devices are its owner's. Skips what no longer fits on the
    devices that are left when some were quarantined.
    """
    if engine_session.plan.endpoint is not None:
        yield None
        return
    with contextlib.ExitStack() as held:
        try:
            lease = held.enter_context(engine_session.lease(deployment))
        except DevicesLostError as problem:
            # As if it had been asked for fewer devices from the start; the verdict is PARTIAL.
            engine_session.leave_out(deployment, str(problem))
            pytest.skip(str(problem))
        yield lease


def _start_once(config: pytest.Config, planned: PlannedDeployment, start: Callable[[], Any]) -> Any:
    failed = config.stash.setdefault(_FAILED, {})
    if planned.id in failed:
        before = failed[planned.id]
        raise EngineStartError(
            f"{planned.id} did not start (see the first failure): {before.message}",
            log_path=before.log_path,
        )
    try:
        return start()
    except EngineStartError as problem:
        failed[planned.id] = problem
        raise


@pytest.fixture(scope="session")
def start_server(
    request: pytest.FixtureRequest,
    deployment: PlannedDeployment,
    npu_lease: Lease | None,
    engine_session: EngineSession,
) -> Callable[[], Endpoint]:
    """Start the deployment's server, or return it when it runs already.

    For the one requirement that a server starts at all: there a failure is the product's. Every
    other test takes ``server``, where the same failure is an error of its set-up.
    """
    running: list[Endpoint] = []

    def begin() -> Endpoint:
        if npu_lease is None:
            return engine_session.attach(deployment)
        return engine_session.start_server(deployment, npu_lease)

    def start() -> Endpoint:
        if not running:
            running.append(_start_once(request.config, deployment, begin))
        return running[0]

    return start


@pytest.fixture(scope="session")
def server(start_server: Callable[[], Endpoint]) -> Endpoint:
    """A ready server of the deployment, shared by all its tests.

    ``server.request(method, path, json=…)`` sends raw requests, ``server.openai_client()`` is an
    ``openai`` client without retries, ``server.log_tail()`` reads the engine's log.
    """
    return start_server()


@pytest.fixture(scope="session")
def start_offline_llm(
    request: pytest.FixtureRequest,
    deployment: PlannedDeployment,
    npu_lease: Lease | None,
    engine_session: EngineSession,
) -> Callable[[], OfflineLLM]:
    """Start the deployment's offline LLM, or return it when it runs already."""
    running: list[OfflineLLM] = []

    def start() -> OfflineLLM:
        if not running:
            assert npu_lease is not None, "an attached server has no offline deployment"
            running.append(
                _start_once(
                    request.config,
                    deployment,
                    lambda: engine_session.start_offline(deployment, npu_lease),
                )
            )
        return running[0]

    return start


@pytest.fixture(scope="session")
def offline_llm(start_offline_llm: Callable[[], OfflineLLM]) -> OfflineLLM:
    """A ready offline ``LLM`` of the deployment, in a child process, shared by all its tests."""
    return start_offline_llm()


@pytest.fixture(scope="session")
def server_capabilities(server: Endpoint, deployment: PlannedDeployment) -> Capabilities:
    """What the server can do, looked at once a deployment; tests take ``capabilities``."""
    from pytest_qwenvl.capabilities import Capabilities

    return Capabilities(server, deployment.deployment.capabilities)


@pytest.fixture
def capabilities(request: pytest.FixtureRequest, server_capabilities: Capabilities) -> Capabilities:
    """What the server can do beyond the least, by name; asked of it when a test wants to know.

    ``capabilities.require("tools")`` ends the test of an extended requirement as UNSUPPORTED
    when the server lacks it, and fails that of a core requirement; ``capabilities.has("tools")``
    only tells. Names: ``tools`` (named or required), ``auto_tools``, ``json_schema``,
    ``logprobs``, ``mm_processor_kwargs``, ``video``, and the endpoints ``completions``,
    ``responses``, ``tokenize``, ``detokenize``, ``metrics``, ``version``, ``load``, ``ping``,
    ``openapi``, ``sleep``. A profile's deployment may declare some, which are then not asked:
    ``capabilities = { video = false }``.
    """
    from pytest_qwenvl.collection import requirement_of
    from pytest_qwenvl.run import catalogue_of

    requirement = requirement_of(request.node)
    core = requirement is not None and (catalogue_of(request.config)[requirement].level == "core")
    return server_capabilities.asked_by(core=core)


@pytest.fixture
def http(server: Endpoint) -> Callable[..., Any]:
    """Raw requests to the server: ``http(method, path, json=…)`` -> ``requests.Response``."""
    return server.request


@pytest.fixture(scope="session")
def openai_client(server: Endpoint) -> OpenAI:
    """An ``openai`` client of the server, without retries and with a timeout."""
    return server.openai_client()


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """What this test measured; it goes into the report as it is."""
    collected = Evidence()
    request.node.stash[EVIDENCE] = collected
    return collected


@pytest.fixture
def preflight(
    request: pytest.FixtureRequest, engine_session: EngineSession, evidence: Evidence
) -> Callable[..., None]:
    """Decides a requirement by a plugin's check of the host: ``preflight("ACME-ENV-001")``.

    Checks come from the hook ``pytest_qwenvl_preflight_checks``. What was looked at is recorded as
    evidence, a finding fails the test. One that is decided for each deployment takes it as the
    second argument: ``preflight("ACME-ENV-002", deployment)``.
    """
    from pytest_qwenvl.preflight.added import deciding

    return deciding(request.config.pluginmanager, engine_session, evidence)


@pytest.fixture(scope="session")
def baseline(request: pytest.FixtureRequest) -> Measurements | None:
    """What the run of ``--baseline`` measured, by deployment, kind and name; None without one."""
    from pytest_qwenvl.run import baseline_of

    return baseline_of(request.config)


@pytest.fixture(scope="session")
def carried_measurements(request: pytest.FixtureRequest) -> Measurements:
    """What runs before this one measured, with ``--resume``, and results carried over rest on.

    What else is judged from such a measurement is judged from it, and it is not made again; empty
    for a run that continues none.
    """
    from pytest_qwenvl.resume_run import carried_measurements_of

    return carried_measurements_of(request.config)


@pytest.fixture(scope="session")
def accuracy_floor(request: pytest.FixtureRequest) -> AccuracyFloor:
    """The evaluation a test was parametrised with; asking for it picks the deployments."""
    floor: AccuracyFloor = request.param
    return floor


@pytest.fixture(scope="session")
def latency_workload(request: pytest.FixtureRequest) -> LatencyWorkload:
    """The workload a test was parametrised with; asking for it picks the deployments."""
    workload: LatencyWorkload = request.param
    return workload


@pytest.fixture(scope="session")
def offline_bench(request: pytest.FixtureRequest) -> OfflineBench:
    """The offline measurement a test was parametrised with; asking for it picks deployments."""
    bench: OfflineBench = request.param
    return bench


@pytest.fixture
def measure_offline(
    deployment: PlannedDeployment, npu_lease: Lease, engine_session: EngineSession
) -> Callable[[OfflineBench], OfflineFigures]:
    """Run ``vllm bench latency`` or ``throughput`` on the deployment's devices.

    Raises:
        MeasurementError: the program failed, or left no result that can be read.
    """
    from pytest_qwenvl.measuring import run_offline_bench

    return lambda bench: run_offline_bench(engine_session, deployment, npu_lease, bench)


@pytest.fixture
def evaluate(
    deployment: PlannedDeployment, npu_lease: Lease, engine_session: EngineSession
) -> Callable[[AccuracyFloor], Evaluation]:
    """Run lm-eval on the deployment's devices: ``evaluate(floor)`` -> ``Evaluation``.

    Raises:
        MeasurementError: lm-eval failed, or left no result that can be judged.
    """
    from pytest_qwenvl.evaluating import run_lm_eval

    return lambda floor: run_lm_eval(engine_session, deployment, npu_lease, floor)


@pytest.fixture
def evaluate_served(
    deployment: PlannedDeployment, engine_session: EngineSession, server: Endpoint
) -> Callable[[AccuracyFloor], Evaluation]:
    """Run lm-eval over the server's chat completions: ``evaluate_served(floor)`` -> ``Evaluation``.

    Raises:
        EngineError: the server did not answer a request of the evaluation.
        MeasurementError: lm-eval failed, or left no result that can be judged.
    """
    from pytest_qwenvl.evaluating import run_served_lm_eval

    return lambda floor: run_served_lm_eval(engine_session, deployment, server, floor)


@pytest.fixture
def bench(
    deployment: PlannedDeployment,
    npu_lease: Lease,
    engine_session: EngineSession,
    server: Endpoint,
) -> Callable[[LatencyWorkload], LoadResult]:
    """Run ``vllm bench serve`` against the server: ``bench(workload)`` -> ``LoadResult``.

    Raises:
        MeasurementError: the program failed, or left no result that can be judged.
    """
    from pytest_qwenvl.load_making import run_bench

    return lambda workload: run_bench(engine_session, deployment, npu_lease, server, workload)
