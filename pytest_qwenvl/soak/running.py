"""One soak from its first request until nothing runs any more."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_qwenvl.errors import EngineDiedError, MeasurementError
from pytest_qwenvl.measure.soak import (
    CACHE,
    COUNTED,
    DEVICE_MEMORY,
    MEMORY,
    OTHERS,
    RUNNING,
    WAITING,
    WHOLE_MEMORY,
)
from pytest_qwenvl.measure.soak_record import Soak
from pytest_qwenvl.soak.load import Draw, MixedLoad
from pytest_qwenvl.soak.probes import Probes, Question
from pytest_qwenvl.soak.processes import EngineProcesses
from pytest_qwenvl.soak.watching import Devices, Watch

if TYPE_CHECKING:
    from pytest_qwenvl.devices.inventory import Inventory
    from pytest_qwenvl.devices.lease import Lease
    from pytest_qwenvl.engine_session import EngineSession
    from pytest_qwenvl.engines.endpoint import Endpoint
    from pytest_qwenvl.planning import PlannedDeployment
    from pytest_qwenvl.profile_soak import SoakLoad
    from pytest_qwenvl.report.progress import StepProgress

_TELL_EVERY = 15.0  # seconds between two words of progress
_LOOK_AGAIN = 0.5  # seconds between looks at requests that are to leave the engine


def soak_deployment(
    session: EngineSession,
    planned: PlannedDeployment,
    lease: Lease | None,
    server: Endpoint,
    load: SoakLoad,
    minutes: float,
    draw: Draw,
    questions: Sequence[Question],
) -> Soak:
    """Soak the server of a deployment, and watch whatever of it can be seen from here.

    Raises:
        MeasurementError: the watching itself failed.
    """
    unseen: dict[str, str] = {}
    processes = None
    process = getattr(server, "process", None)
    if process is None:
        unseen["host"] = "the server is attached, and its host is not seen"
    elif session.container is not None:
        unseen["host"] = "the engine runs in a container, and its processes are not seen"
    else:
        processes = EngineProcesses(process.pid)
    if "host" in unseen:
        reason = unseen.pop("host")
        unseen |= dict.fromkeys((MEMORY, WHOLE_MEMORY, *COUNTED, OTHERS), reason)
    devices = None
    if lease is None:
        unseen[DEVICE_MEMORY] = "the server is attached, and its devices are not seen"
    elif session.plan.inventory.backend == "cpu":
        unseen[DEVICE_MEMORY] = "does not apply: virtual devices have no memory of their own"
    else:
        devices = _memory_of(session.plan.inventory, lease)
        if devices is None:
            unseen[DEVICE_MEMORY] = "there is no npu-smi to tell"
    with session.steps(f"{planned.id}: soak of {minutes:g} min") as step:
        return soak_server(
            server,
            load,
            minutes,
            seed=load.seed + session.config.load_seed,
            draw=draw,
            questions=questions,
            processes=processes,
            devices=devices,
            unseen=unseen,
            step=step,
        )


def soak_server(
    server: Endpoint,
    load: SoakLoad,
    minutes: float,
    *,
    seed: int,
    draw: Draw,
    questions: Sequence[Question],
    processes: EngineProcesses | None = None,
    devices: Devices | None = None,
    unseen: Mapping[str, str] | None = None,
    step: StepProgress | None = None,
) -> Soak:
    """Soak any server.

    Args:
        minutes: how long requests are sent.
        processes: None where they cannot be seen; ``unseen`` says why.

    Raises:
        MeasurementError: the watching itself failed.
    """
    mixed = MixedLoad(server, load, draw, seed)
    probes = Probes(server, questions, mixed, load.probe_interval, load.request_timeout)
    watch = Watch(server, processes, devices, mixed.most_under_way, load.watch_interval)
    missing = dict(unseen or {})
    before = watch.gauges()
    stop = threading.Event()
    died = ""
    settled = left = None
    with _telling(step, minutes, stop):
        watch.start()
        probes.start()
        try:
            duration = mixed.run(60 * minutes, stop)
        finally:
            stop.set()
            probes.stop()
            watch.stop()
    for what, failure in (("watching", watch.failure), ("a probe", probes.failure)):
        if failure is not None and not isinstance(failure, EngineDiedError):
            raise MeasurementError(f"soak: {what} failed: {type(failure).__name__}: {failure}")
    try:
        server.check_alive()
        if mixed.died is None:
            settled, left = _settle(watch, load.settle_seconds)
    except EngineDiedError as death:
        died = death.message
    if mixed.died is not None:
        died = mixed.died.message
    if left is None and not died:
        missing |= dict.fromkeys((RUNNING, WAITING, CACHE), watch.unreadable)
    elapsed = max(duration, 1e-9)
    return Soak(
        minutes=minutes,
        duration=duration,
        seed=seed,
        request_rate=load.request_rate,
        watched=watch.watched() + probes.watched(),
        probes=probes.probes(),
        requests=mixed.tallies,
        wrong=mixed.wrong,
        unseen=missing,
        died=died,
        gone=() if died else watch.gone,
        overstays=watch.overstays,
        settled=settled,
        left=left,
        foreign=before.get(RUNNING, 0.0) + before.get(WAITING, 0.0),
        log_errors=watch.log_errors if getattr(server, "log_path", None) else None,
        log_lines=tuple(watch.log_lines),
        watcher=watch.processor / elapsed,
    )


def _settle(watch: Watch, patience: float) -> tuple[float | None, float | None]:
    """Seconds until no request ran or waited, and how many did at the last look."""
    began = time.monotonic()
    while True:
        found = watch.gauges()
        waited = time.monotonic() - began
        if RUNNING not in found:
            return None, None
        left = found[RUNNING] + found.get(WAITING, 0.0)
        if left == 0:
            return waited, 0.0
        if waited >= patience:
            return None, left
        time.sleep(_LOOK_AGAIN)


@contextlib.contextmanager
def _telling(step: StepProgress | None, minutes: float, stop: threading.Event) -> Iterator[None]:
    """Tells how far the soak is, until ``stop`` is set."""
    began = time.monotonic()

    def tell() -> None:
        assert step is not None
        while True:
            step.update(f"{(time.monotonic() - began) / 60:.0f} of {minutes:g} min")
            if stop.wait(_TELL_EVERY):
                return

    thread = threading.Thread(target=tell, name="qwenvl-soak-progress", daemon=True)
    if step is not None:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if step is not None:
            thread.join()


def _memory_of(inventory: Inventory, lease: Lease) -> Devices | None:
    """What tells the memory used of the leased devices; None without npu-smi."""
    from pytest_qwenvl.devices.reading import read_npus
    from pytest_qwenvl.errors import UsageProblem

    tool = shutil.which("npu-smi")
    if tool is None or not inventory.npus:
        return None
    wanted = {inventory.npus[inventory.devices.index(it)].logic_id for it in lease.devices}

    def look() -> dict[str, float]:
        try:
            npus = read_npus(tool, os.environ)
        except UsageProblem:
            # One look less; a tool that never answers leaves a series too short to judge.
            return {}
        return {
            f"npu{npu.logic_id}": float(npu.memory_used_mib)
            for npu in npus
            if npu.logic_id in wanted and npu.memory_used_mib is not None
        }

    return look
