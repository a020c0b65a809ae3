"""The engines of one pytest process: at most one at a time on a lease, each started once."""

from __future__ import annotations

import contextlib
import copy
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_qwenvl.config import Config
from pytest_qwenvl.devices.lease import DevicePool, Lease
from pytest_qwenvl.engine_records import EngineRecords
from pytest_qwenvl.engines.finding import find_interpreter
from pytest_qwenvl.errors import EngineError
from pytest_qwenvl.planning import Plan, PlannedDeployment
from pytest_qwenvl.report.results import NotRun

if TYPE_CHECKING:
    from pytest_qwenvl.engines.argument_check import ArgumentCheck
    from pytest_qwenvl.engines.attached import AttachedServer
    from pytest_qwenvl.engines.command import Launch
    from pytest_qwenvl.engines.container_launcher import Contained, ContainerLauncher
    from pytest_qwenvl.engines.interpreter import Interpreter
    from pytest_qwenvl.engines.launching import LauncherFactory, PluginLauncher
    from pytest_qwenvl.engines.offline import OfflineLLM
    from pytest_qwenvl.engines.server import Server
    from pytest_qwenvl.live import Steps
    from pytest_qwenvl.report.progress import StepProgress


class EngineSession:
    """Starts engines under leases and ends every one of them.

    Args:
        run_directory: where logs and the engines' working files go.
        steps: opens a long step, to which progress is told.
        launchers: of plugins, by name, for ``--launcher``.

    Attributes:
        records: engines and measuring processes, for the report.
        notes: what the report says of the host beside results.
        not_run: deployments that could not run after all.
        holding: how many devices this process holds, by deployment.
        continues: earlier runs whose results of a deployment are this run's too, by its id; a
            run that continues another one (``--resume``) has some.
    """

    def __init__(
        self,
        config: Config,
        plan: Plan,
        run_directory: Path,
        steps: Steps,
        run_id: str,
        launchers: Mapping[str, LauncherFactory] | None = None,
    ) -> None:
        self.config = config
        self.plan = plan
        self.run_directory = run_directory
        self.steps = steps
        self.run_id = run_id
        self._launchers = launchers or {}
        self.pool = DevicePool.of_inventory(plan.inventory, most=plan.npus, run_id=run_id)
        self.records = EngineRecords(self.versions)
        self.notes: list[str] = []
        self.not_run: list[NotRun] = []
        self.holding: dict[str, int] = {}
        self.continues: Mapping[str, tuple[str, ...]] = {}
        self._interpreter: Interpreter | None = None
        self._cpu_environment: dict[str, str] | None = None
        self._running: Server | OfflineLLM | AttachedServer | None = None

    @property
    def interpreter(self) -> Interpreter:
        """The interpreter that has vLLM, looked at once.

        Raises:
            UsageProblem: it is no Python, or has no vLLM.
        """
        if self._interpreter is None:
            container = self.container
            self._interpreter = (
                container.interpreter() if container else find_interpreter(self.config)
            )
        return self._interpreter

    @functools.cached_property
    def container(self) -> ContainerLauncher | None:
        """What runs this run's engines in containers; None where they run on the host."""
        if self.config.launcher != "container":
            return None
        from pytest_qwenvl.engines.container_launcher import ContainerLauncher

        return ContainerLauncher(self.config, self.plan.inventory, self.run_directory, self.run_id)

    @functools.cached_property
    def launcher(self) -> PluginLauncher | None:
        """What a plugin runs this run's engines by; None for ``local`` and ``container``.

        Raises:
            UsageProblem: the plugin could not make it.
        """
        from pytest_qwenvl.engines.launching import LaunchContext, plugin_launcher

        context = LaunchContext(self.config, self.plan.inventory, self.run_directory, self.run_id)
        return plugin_launcher(self._launchers, context)

    def contain(
        self, kind: Contained, planned: PlannedDeployment, lease: Lease | None
    ) -> Callable[[Launch], Launch] | None:
        """What makes a command of this deployment its launcher's; None where it runs as it is."""
        launcher = self.container or self.launcher
        return launcher.contain(kind, planned, lease) if launcher else None

    def versions(self) -> dict[str, str]:
        """Versions of everything the engine's interpreter has, by distribution."""
        found = {name: version for name, version in self.interpreter.versions.items() if version}
        return {**found, "image": self.container.image.described()} if self.container else found

    def environment(self) -> dict[str, str]:
        """What every measuring process of this run needs to find its vLLM."""
        if self.plan.inventory.backend != "cpu":
            return {}
        if self._cpu_environment is None:
            from pytest_qwenvl.engines.cpu.overlay import cpu_environment

            overlay = self.run_directory / "engine-overlay"
            overlay.mkdir(parents=True, exist_ok=True)
            self._cpu_environment = cpu_environment(self.interpreter, overlay)
        return self._cpu_environment

    @functools.cached_property
    def arguments(self) -> ArgumentCheck:
        """Whether the engine would accept a deployment's arguments; asked before any start."""
        from pytest_qwenvl.engines.argument_check import ArgumentCheck

        return ArgumentCheck(
            self.interpreter,
            self.plan.inventory.backend,
            self.steps,
            elsewhere=self.container.asking() if self.container else None,
        )

    @contextlib.contextmanager
    def lease(self, planned: PlannedDeployment) -> Iterator[Lease]:
        """The devices of one deployment; ends the engine on them before it gives them back.

        What was passed over and what was quarantined goes into the run's notes.

        Raises:
            DevicesLostError: the run quarantined so many that the rest is too few.
            LeaseError: too few are fit for use.
        """
        shown: list[StepProgress] = []
        with contextlib.ExitStack() as held:
            with self.steps(f"{planned.id}: waiting for devices") as step:
                shown.append(step)
                lease = held.enter_context(
                    self.pool.lease(
                        planned.deployment.npus,
                        planned.id,
                        lambda text: shown[-1].update(text),
                        exclusive=planned.deployment.exclusive,
                        memory_utilization=self._memory_utilization(planned),
                    )
                )
            for name, reason in lease.passed_over.items():
                self.notes.append(f"{name} was not given to {planned.id}: it {reason}")
            before = dict(self.pool.quarantined)
            self.holding[planned.id] = planned.deployment.npus
            try:
                yield lease
            finally:
                self.stop()
                del self.holding[planned.id]
                with self.steps(f"{planned.id}: giving back its devices") as step:
                    shown.append(step)
                    held.close()
                for name in self.pool.quarantined.keys() - before.keys():
                    reason = self.pool.quarantined[name]
                    self.notes.append(f"{name} is quarantined since {planned.id}: it {reason}")

    def leave_out(self, planned: PlannedDeployment, reason: str) -> None:
        """Note that a deployment cannot run, which makes its model's verdict PARTIAL."""
        self.not_run.append(
            NotRun(model=planned.profile.name, deployment=planned.deployment.name, reason=reason)
        )

    def _memory_utilization(self, planned: PlannedDeployment) -> float | None:
        """Share of a device's memory that the profile lets the engine take, if it says so."""
        from pytest_qwenvl.engines.command import engine_arguments

        if self.plan.inventory.backend == "cpu":
            return None
        arguments = engine_arguments(
            planned.profile, planned.deployment, "npu", self.interpreter.engine_versions
        )
        share = arguments.get("gpu_memory_utilization")
        return float(share) if isinstance(share, int | float) else None

    def start_server(self, planned: PlannedDeployment, lease: Lease) -> Server:
        """Start ``vllm serve`` and wait until it is ready; ends any other engine on the lease.

        Raises:
            EngineStartError: it exited, hung or answered wrongly; with the tail of its log.
        """
        from pytest_qwenvl.engines.server import start_server

        server: Server = self._start("serve", planned, lease, start_server)
        return server

    def start_offline(self, planned: PlannedDeployment, lease: Lease) -> OfflineLLM:
        """Start an offline ``LLM`` in a child process; ends any other engine on the lease.

        Raises:
            EngineStartError: it exited, hung or refused its arguments.
        """
        from pytest_qwenvl.engines.offline import start_offline

        llm: OfflineLLM = self._start("offline", planned, lease, start_offline)
        return llm

    def attach(self, planned: PlannedDeployment) -> AttachedServer:
        """The server behind ``--endpoint``, which was looked at when the run began."""
        from pytest_qwenvl.engines.attached import AttachedServer

        assert self.plan.endpoint is not None
        server = AttachedServer(
            self.plan.endpoint,
            self.config.served_model_name or planned.profile.name,
            self.config.endpoint_key,
            api_key_env=self.config.api_key_env,
        )
        self.records.add("attached", planned, (self.plan.endpoint,), {}, (), "", outcome="ready")
        self._running = server
        return server

    def is_of_this_run(self, planned: PlannedDeployment, run_id: str) -> bool:
        """Whether what a run left of a deployment says something of this run's engines.

        It does when it is this run, or one that it continues with the same inputs.
        """
        return run_id in (self.run_id, *self.continues.get(planned.id, ()))

    def directory_of(self, planned: PlannedDeployment) -> Path:
        """Where the logs and files of one deployment go."""
        directory = self.run_directory / planned.profile.name / planned.deployment.name
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def beside(self) -> EngineSession:
        """The same session for one more engine, which does not end the one that runs."""
        other = copy.copy(self)
        other._running = None
        return other

    def stop(self) -> None:
        """End the running engine; returns when nothing of it is left."""
        if self._running is None:
            return
        engine, self._running = self._running, None
        engine.stop()

    def child_environment(self, planned: PlannedDeployment, lease: Lease) -> dict[str, str]:
        """The environment of a measuring process that loads the model on the leased devices."""
        from pytest_qwenvl.engines.command import engine_environment

        environment = engine_environment(
            planned.profile,
            planned.deployment,
            self.plan.inventory.backend,
            devices=lease.devices,
            modelscope=False,
            mask=self.plan.inventory.mask,
            weights_are_local=planned.weights is not None,
            versions=self.interpreter.engine_versions,
        )
        return {**environment, **self.environment()}

    def _start(
        self,
        kind: Literal["serve", "offline"],
        planned: PlannedDeployment,
        lease: Lease,
        starter: Callable[..., Any],
    ) -> Any:
        self.stop()
        began = time.time()
        try:
            self.arguments.check(planned.profile, planned.deployment)
            with self.steps(f"{planned.id}: starting") as step:
                engine = starter(
                    planned.profile,
                    planned.deployment,
                    interpreter=self.interpreter,
                    weights=planned.weights,
                    backend=self.plan.inventory.backend,
                    devices=lease.devices,
                    mask=self.plan.inventory.mask,
                    run_directory=self.directory_of(planned),
                    progress=step.update,
                    contain=self.contain(kind, planned, lease),
                )
        except EngineError as problem:
            log = str(problem.log_path or "")
            self.records.add(kind, planned, problem.argv, {}, lease.devices, log, "failed", began)
            raise
        launch = engine.launch
        self.records.add(
            kind,
            planned,
            launch.argv,
            launch.environment,
            lease.devices,
            str(engine.log_path),
            "ready",
            began,
            ready=time.time() - began,
        )
        self._running = engine
        return engine
