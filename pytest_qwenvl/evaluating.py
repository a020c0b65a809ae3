"""Running lm-eval over a deployment and reading what it left.

Two harnesses: offline, lm-eval loads the model itself on the deployment's devices; served, it asks
the deployment's server over chat completions. Both run in the engines' interpreter, in a process of
their own, and leave the same things.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.errors import EngineError, MeasurementError
from pytest_qwenvl.live import EvaluationProgress
from pytest_qwenvl.measuring import empty_directory, run_program
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile_accuracy import AccuracyFloor

if TYPE_CHECKING:
    from pytest_qwenvl.engines.command import Launch
    from pytest_qwenvl.engines.endpoint import Endpoint
    from pytest_qwenvl.measure.lm_eval_result import Evaluation

_WORKER = Path(__file__).with_name("engines") / "lm_eval_worker.py"
_BUILD_TIMEOUT = 300.0  # seconds to write a task's data
_DEATH_NOTICE = 1.0  # seconds in which requests that failed may turn out to be a dead engine


def run_lm_eval(
    session: EngineSession, planned: PlannedDeployment, lease: Lease, floor: AccuracyFloor
) -> Evaluation:
    """Run the floor's task with lm-eval on the leased devices and read its result.

    lm-eval loads an LLM of its own, so any engine on the lease is ended first.

    Raises:
        MeasurementError: lm-eval is missing, failed, or left no result that can be judged.
    """
    from pytest_qwenvl.engines.command import engine_arguments
    from pytest_qwenvl.measure.lm_eval_command import lm_eval_arguments
    from pytest_qwenvl.weights_digest import weights_digest

    _check_lm_eval(session)
    session.stop()
    if planned.weights is None:
        raise MeasurementError("lm-eval needs the weights; an attached server has none here")
    environment = session.child_environment(planned, lease)
    task = _prepare(session, planned, floor, environment, lease)
    arguments = lm_eval_arguments(
        planned.profile,
        floor,
        weights=planned.weights,
        output_path=task.results,
        include_path=task.include_path,
        max_images=planned.deployment.images,
        engine_arguments=engine_arguments(
            planned.profile,
            planned.deployment,
            session.plan.inventory.backend,
            session.interpreter.engine_versions,
        ),
    )
    evaluation = _evaluate(session, planned, floor, task, arguments, lease)
    return replace(evaluation, weights=weights_digest(planned.weights))


def run_served_lm_eval(
    session: EngineSession, planned: PlannedDeployment, server: Endpoint, floor: AccuracyFloor
) -> Evaluation:
    """Run the floor's task with lm-eval over the server's chat completions and read its result.

    The server keeps its devices and goes on serving; lm-eval's process has none. The key reaches it
    in its environment alone. What weights an attached server has is not known, so its evaluation
    names none.

    Raises:
        EngineError: the server did not answer a request of the evaluation, or is gone.
        MeasurementError: lm-eval is missing, failed, or left no result that can be judged.
    """
    from pytest_qwenvl.measure.finish_reasons import failed_requests
    from pytest_qwenvl.measure.lm_eval_command import served_arguments
    from pytest_qwenvl.weights_digest import weights_digest

    _check_lm_eval(session)
    environment = _client_environment(session, server)
    task = _prepare(session, planned, floor, environment, None)
    arguments = served_arguments(
        planned.profile,
        floor,
        base_url=server.base_url,
        model=server.model,
        output_path=task.results,
        include_path=task.include_path,
        max_images=planned.deployment.images,
    )
    try:
        evaluation = _evaluate(session, planned, floor, task, arguments, None)
    except MeasurementError as problem:
        server.check_alive(patience=_DEATH_NOTICE)
        failed = failed_requests(task.reasons)
        if not failed:
            raise
        raise EngineError(
            f"{floor.task}: {server.base_url}/v1/chat/completions did not answer a request of the "
            f"evaluation, each of which is sent once: {failed[0]}; lm-eval's own log: {task.log}"
        ) from problem
    if session.plan.endpoint is not None or planned.weights is None:
        return evaluation
    return replace(evaluation, weights=weights_digest(planned.weights))


@dataclass(frozen=True)
class _Task:
    """What an evaluation is run with, and where it leaves things."""

    environment: dict[str, str]
    include_path: Path | None
    results: Path
    reasons: Path
    log: Path


def _check_lm_eval(session: EngineSession) -> None:
    if not session.interpreter.has_lm_eval:
        raise MeasurementError(
            f"{session.interpreter.path} has no lm-eval, which measures accuracy; install it "
            "there: pip install 'pytest-qwenvl[accuracy]'"
        )


def _client_environment(session: EngineSession, server: Endpoint) -> dict[str, str]:
    # lm-eval sends a bearer token in any case; a server that wants none takes no notice.
    environment = {**session.environment(), "OPENAI_API_KEY": server.api_key or "EMPTY"}
    # The client needs no device, and must not take memory on those of its server.
    environment["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
    authority = os.environ.get("REQUESTS_CA_BUNDLE")
    if authority:
        # aiohttp does not know the variable that requests reads.
        environment["SSL_CERT_FILE"] = authority
    return environment


def _prepare(
    session: EngineSession,
    planned: PlannedDeployment,
    floor: AccuracyFloor,
    environment: dict[str, str],
    lease: Lease | None,
) -> _Task:
    """Empty the evaluation's folder and write the task's data, where a script makes them."""
    from pytest_qwenvl.engines.command import Launch
    from pytest_qwenvl.measure.finish_reasons import FINISH_REASONS

    profile = planned.profile
    directory = empty_directory(session.directory_of(planned) / f"lm-eval-{floor.task}")
    include_path: Path | None = None
    if floor.task_directory is not None:
        include_path = (profile.path.parent / floor.task_directory).resolve()
    if floor.task_data is not None:
        assert include_path is not None
        data = empty_directory(directory / "task")
        # What the datasets library caches belongs to this run, not to the user's home.
        environment = {**environment, "HF_DATASETS_CACHE": str(directory / "datasets")}
        python, script = str(session.interpreter.path), str(include_path / floor.task_data)
        build = Launch((python, script, str(data), "--family", profile.family), environment)
        log = directory / "task.log"
        _run(session, planned, build, lease, log, _BUILD_TIMEOUT)
        include_path = data
    return _Task(
        environment,
        include_path,
        directory / "results",
        directory / FINISH_REASONS,
        directory / "lm-eval.log",
    )


def _evaluate(
    session: EngineSession,
    planned: PlannedDeployment,
    floor: AccuracyFloor,
    task: _Task,
    arguments: Sequence[str],
    lease: Lease | None,
) -> Evaluation:
    from pytest_qwenvl.engines.command import Launch
    from pytest_qwenvl.measure.finish_reasons import with_finish_reasons
    from pytest_qwenvl.measure.lm_eval_result import read_lm_eval

    python = str(session.interpreter.path)
    command = (python, str(_WORKER), str(task.reasons), floor.metric, *arguments)
    launch = Launch(command, task.environment)
    _run(session, planned, launch, lease, task.log, floor.timeout)
    evaluation = read_lm_eval(task.results, floor.task, floor.metric)
    return with_finish_reasons(evaluation, task.reasons)


def _run(
    session: EngineSession,
    planned: PlannedDeployment,
    launch: Launch,
    lease: Lease | None,
    log: Path,
    timeout: float,
) -> None:
    progress = EvaluationProgress()
    with session.steps(f"{planned.id}: lm-eval") as step:
        run_program(
            session,
            "lm-eval",
            planned,
            launch,
            lease,
            log,
            timeout,
            lambda line: step.update(progress.text_after(line)),
        )
