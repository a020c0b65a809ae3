"""Running lm-eval and vLLM's bench for a deployment, and reading what they left."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile import AccuracyFloor, LatencyWorkload

if TYPE_CHECKING:
    from pytest_qwenvl.engines.command import Launch
    from pytest_qwenvl.engines.endpoint import Endpoint
    from pytest_qwenvl.measure.bench_result import LoadResult
    from pytest_qwenvl.measure.lm_eval_result import Evaluation
    from pytest_qwenvl.report.progress import StepProgress

_LM_EVAL = Path(__file__).with_name("engines") / "lm_eval_worker.py"
# Of prompts, pictures and arrival times: the same load on every run, so that runs compare.
_SEED = 0


def run_lm_eval(
    session: EngineSession, planned: PlannedDeployment, lease: Lease, floor: AccuracyFloor
) -> Evaluation:
    """Run the floor's task with lm-eval on the leased devices and read its result.

    lm-eval loads an LLM of its own, so any engine on the lease is ended first.

    Raises:
        MeasurementError: lm-eval is missing, failed, or left no result that can be judged.
    """
    from pytest_qwenvl.engines.command import Launch, engine_arguments
    from pytest_qwenvl.measure.finish_reasons import FINISH_REASONS, with_finish_reasons
    from pytest_qwenvl.measure.lm_eval_command import lm_eval_arguments
    from pytest_qwenvl.measure.lm_eval_result import read_lm_eval
    from pytest_qwenvl.weights_digest import weights_digest

    interpreter = session.interpreter
    if not interpreter.has_lm_eval:
        raise MeasurementError(
            f"{interpreter.path} has no lm-eval, which measures accuracy; install it there: "
            "pip install 'pytest-qwenvl[accuracy]'"
        )
    session.stop()
    profile = planned.profile
    if planned.weights is None:
        raise MeasurementError("lm-eval needs the weights; an attached server has none here")
    directory = _empty(session.directory_of(planned) / f"lm-eval-{floor.task}")
    environment = session.child_environment(planned, lease)
    include_path: Path | None = None
    if floor.task_directory is not None:
        include_path = (profile.path.parent / floor.task_directory).resolve()
    if floor.task_data is not None:
        assert include_path is not None
        data = _empty(directory / "task")
        # What the datasets library caches belongs to this run, not to the user's home.
        environment["HF_DATASETS_CACHE"] = str(directory / "datasets")
        script = str(include_path / floor.task_data)
        build = Launch(
            (str(interpreter.path), script, str(data), "--family", profile.family), environment
        )
        _run(session, "lm-eval", planned, build, lease, directory / "task.log", 300.0)
        include_path = data
    arguments = lm_eval_arguments(
        profile,
        floor,
        weights=planned.weights,
        output_path=directory / "results",
        include_path=include_path,
        max_images=planned.deployment.images,
        engine_arguments=engine_arguments(
            profile,
            planned.deployment,
            session.plan.inventory.backend,
            interpreter.engine_versions,
        ),
    )
    reasons = directory / FINISH_REASONS
    command = (str(interpreter.path), str(_LM_EVAL), str(reasons), *arguments)
    launch = Launch(command, environment)
    _run(session, "lm-eval", planned, launch, lease, directory / "lm-eval.log", floor.timeout)
    evaluation = read_lm_eval(directory / "results", floor.task, floor.metric)
    evaluation = with_finish_reasons(evaluation, reasons)
    return replace(evaluation, weights=weights_digest(planned.weights))


def run_bench(
    session: EngineSession,
    planned: PlannedDeployment,
    lease: Lease | None,
    server: Endpoint,
    workload: LatencyWorkload,
) -> LoadResult:
    """Make the workload's load on the server with ``vllm bench serve`` and read its result.

    Raises:
        MeasurementError: the program failed, or left no result that can be judged.
    """
    from pytest_qwenvl.engines.command import Launch
    from pytest_qwenvl.measure.bench_command import RESULT_FILENAME, bench_arguments
    from pytest_qwenvl.measure.bench_result import read_bench

    directory = _empty(session.directory_of(planned) / f"bench-{workload.name}")
    arguments = bench_arguments(
        workload,
        base_url=server.base_url,
        model=server.model,
        tokenizer=planned.weights or server.model,
        result_directory=directory,
        seed=_SEED,
    )
    environment = {**session.environment(), "VLLM_NO_USAGE_STATS": "1"}
    if planned.weights is not None:
        environment["HF_HUB_OFFLINE"] = "1"
    if server.api_key:
        environment["OPENAI_API_KEY"] = server.api_key
    python = str(session.interpreter.path)
    launch = Launch((python, "-m", "vllm.entrypoints.cli.main", *arguments), environment)
    _run(session, "bench", planned, launch, lease, directory / "bench.log", workload.timeout)
    return read_bench(directory / RESULT_FILENAME)


def _run(
    session: EngineSession,
    kind: Literal["lm-eval", "bench"],
    planned: PlannedDeployment,
    launch: Launch,
    lease: Lease | None,
    log: Path,
    timeout: float,
) -> None:
    from pytest_qwenvl.engines.process import run_to_completion

    contain = session.contain(kind, planned, lease)
    if contain is not None:
        launch = contain(launch)
    with (
        session.recorded(kind, planned, launch, lease, log),
        session.steps(f"{planned.id}: {kind}") as step,
    ):
        status = run_to_completion(
            launch, log_path=log, timeout=timeout, on_line=lambda line: _show(line, step)
        )
        if status != 0:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:])
            raise MeasurementError(
                f"{kind} exited with status {status}: {launch.shell_line()}\n"
                f"last lines of {log}:\n{tail}"
            )


def _show(line: str, step: StepProgress) -> None:
    # Both programs draw progress bars: how much is done and what is left.
    if "%|" in line:
        step.update(line.split("\r")[-1].strip())


def _empty(directory: Path) -> Path:
    """``directory``, without what an earlier run left: old results must not be judged again."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
