"""Running measuring programs for a deployment, and reading what lm-eval left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.live import progress_of
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.profile_latency import OfflineBench

if TYPE_CHECKING:
    from pytest_qwenvl.engines.command import Launch
    from pytest_qwenvl.measure.lm_eval_result import Evaluation
    from pytest_qwenvl.measure.offline_bench import OfflineFigures

_LM_EVAL = Path(__file__).with_name("engines") / "lm_eval_worker.py"


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
    directory = empty_directory(session.directory_of(planned) / f"lm-eval-{floor.task}")
    environment = session.child_environment(planned, lease)
    include_path: Path | None = None
    if floor.task_directory is not None:
        include_path = (profile.path.parent / floor.task_directory).resolve()
    if floor.task_data is not None:
        assert include_path is not None
        data = empty_directory(directory / "task")
        # What the datasets library caches belongs to this run, not to the user's home.
        environment["HF_DATASETS_CACHE"] = str(directory / "datasets")
        script = str(include_path / floor.task_data)
        build = Launch(
            (str(interpreter.path), script, str(data), "--family", profile.family), environment
        )
        _run(session, planned, build, lease, directory / "task.log", 300.0)
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
    _run(session, planned, launch, lease, directory / "lm-eval.log", floor.timeout)
    evaluation = read_lm_eval(directory / "results", floor.task, floor.metric)
    evaluation = with_finish_reasons(evaluation, reasons)
    return replace(evaluation, weights=weights_digest(planned.weights))


def run_offline_bench(
    session: EngineSession, planned: PlannedDeployment, lease: Lease, bench: OfflineBench
) -> OfflineFigures:
    """Run ``vllm bench latency`` or ``throughput`` on the leased devices and read its result.

    The program loads an LLM of its own, so any engine on the lease is ended first.

    Raises:
        MeasurementError: the program failed, or left no result that can be read.
    """
    from pytest_qwenvl.engines.command import Launch, engine_arguments
    from pytest_qwenvl.measure.offline_bench import offline_bench_arguments, read_offline_bench

    session.stop()
    if planned.weights is None:
        raise MeasurementError("vllm bench needs the weights; an attached server has none here")
    directory = empty_directory(session.directory_of(planned) / f"bench-{bench.program}")
    result = directory / "result.json"
    arguments = offline_bench_arguments(
        bench,
        weights=planned.weights,
        result=result,
        engine_arguments=engine_arguments(
            planned.profile,
            planned.deployment,
            session.plan.inventory.backend,
            session.interpreter.engine_versions,
        ),
    )
    python = str(session.interpreter.path)
    launch = Launch(
        (python, "-m", "vllm.entrypoints.cli.main", *arguments),
        session.child_environment(planned, lease),
    )
    _run(session, planned, launch, lease, directory / "bench.log", bench.timeout, "bench")
    return read_offline_bench(result, bench.program)


def run_program(
    session: EngineSession,
    kind: Literal["lm-eval", "bench"],
    planned: PlannedDeployment,
    launch: Launch,
    lease: Lease | None,
    log: Path,
    timeout: float,
    on_line: Callable[[str], None],
    *,
    needs_devices: bool = False,
) -> None:
    """Run a measuring program to its end, where the launcher puts it.

    Args:
        timeout: seconds.
        on_line: called with every line of its output, while it runs.
        needs_devices: whether a ``bench`` loads a model itself, as lm-eval always does.

    Raises:
        MeasurementError: it could not be started, failed, or did not end in time.
    """
    from pytest_qwenvl.engines.process import run_to_completion

    contain = session.contain("lm-eval" if needs_devices else kind, planned, lease)
    if contain is not None:
        launch = contain(launch)
    with session.recorded(kind, planned, launch, lease, log):
        status = run_to_completion(launch, log_path=log, timeout=timeout, on_line=on_line)
        if status != 0:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:])
            raise MeasurementError(
                f"{kind} exited with status {status}: {launch.shell_line()}\n"
                f"last lines of {log}:\n{tail}"
            )


def _run(
    session: EngineSession,
    planned: PlannedDeployment,
    launch: Launch,
    lease: Lease,
    log: Path,
    timeout: float,
    kind: Literal["lm-eval", "bench"] = "lm-eval",
) -> None:
    with session.steps(f"{planned.id}: {kind}") as step:

        def show(line: str) -> None:
            progress = progress_of(line)
            if progress is not None:
                step.update(str(progress))

        run_program(session, kind, planned, launch, lease, log, timeout, show, needs_devices=True)


def empty_directory(directory: Path) -> Path:
    """``directory``, without what an earlier run left: old results must not be judged again."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
