"""Running measuring programs for a deployment; ``vllm bench latency`` and ``throughput``."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.live import progress_of
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile_latency import OfflineBench

if TYPE_CHECKING:
    from pytest_qwenvl.engines.command import Launch
    from pytest_qwenvl.measure.offline_bench import OfflineFigures


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
    log = directory / "bench.log"
    with session.steps(f"{planned.id}: bench") as step:

        def show(line: str) -> None:
            progress = progress_of(line)
            if progress is not None:
                step.update(str(progress))

        run_program(
            session, "bench", planned, launch, lease, log, bench.timeout, show, needs_devices=True
        )
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
    with session.records.during(kind, planned, launch, lease, log):
        status = run_to_completion(launch, log_path=log, timeout=timeout, on_line=on_line)
        if status != 0:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:])
            raise MeasurementError(
                f"{kind} exited with status {status}: {launch.shell_line()}\n"
                f"last lines of {log}:\n{tail}"
            )


def empty_directory(directory: Path) -> Path:
    """``directory``, without what an earlier run left: old results must not be judged again."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
