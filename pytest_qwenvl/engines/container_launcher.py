"""Runs the engines of one pytest process in containers."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pytest_qwenvl.config import Config
from pytest_qwenvl.devices.inventory import Inventory
from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engines.accepted_arguments import Elsewhere
from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.container import Mount, container_launch, weight_mounts
from pytest_qwenvl.engines.container_devices import missing
from pytest_qwenvl.engines.container_runtime import Image, find_image, probe_image
from pytest_qwenvl.engines.interpreter import Interpreter
from pytest_qwenvl.engines.preparation import WORK
from pytest_qwenvl.errors import EngineStartError, UsageProblem
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile import Engine

Contained = Literal["serve", "offline", "lm-eval", "bench"]
_PYTHON = Path("python3")
# Seconds for the offline LLM to end by itself once nobody writes to it; ending an engine with
# several processes takes most of it.
_OFFLINE_PATIENCE = 20.0


class ContainerLauncher:
    """Turns commands of this run into commands that run in the run's image.

    Args:
        run_directory: what engines write to; the same path in every container.
    """

    def __init__(
        self, config: Config, inventory: Inventory, run_directory: Path, run_id: str
    ) -> None:
        assert config.image is not None, "the options were checked"
        self._config = config
        self._inventory = inventory
        self._run_directory = run_directory
        self._run_id = run_id
        self._numbers = itertools.count(1)
        self._image: Image | None = None

    @property
    def image(self) -> Image:
        """The image, as the host had it when it was first looked at.

        Raises:
            UsageProblem: the runtime does not work, or has no such image.
        """
        if self._image is None:
            assert self._config.image is not None
            self._image = find_image(self._config.container_runtime, self._config.image)
        return self._image

    def check(self) -> None:
        """Refuse a run that could start no container, before anything is started.

        Raises:
            UsageProblem: the runtime does not work, the image is not there, or this host lacks
                what a container with its NPUs needs.
        """
        _ = self.image
        if self._inventory.backend == "npu":
            lacking = self._lacking(self._inventory.physical)
            if lacking:
                raise UsageProblem(
                    f"--launcher=container: this host lacks {', '.join(lacking)}, which a "
                    "container with its NPUs needs; see docs/containers.md, and check that the "
                    "driver is installed and its devices are visible here"
                )

    def interpreter(self) -> Interpreter:
        """What the image's interpreter has.

        Raises:
            UsageProblem: the container could not be run, or the interpreter has no vLLM.
        """
        return probe_image(
            self._config.container_runtime,
            self.image,
            self._config.engine_python or _PYTHON,
            self._config.container_options,
        )

    def asking(self) -> Elsewhere:
        """How the image's interpreter is asked what it accepts: with the driver, without an NPU."""
        folder = self._run_directory / "asked"
        folder.mkdir(parents=True, exist_ok=True)

        def contained(launch: Launch) -> Launch:
            return container_launch(
                launch,
                runtime=self._config.container_runtime,
                image=self.image.id,
                name=f"qwenvl-{self._run_id}-{os.getpid()}-{next(self._numbers)}-asked",
                backend=self._inventory.backend,
                generation=self._inventory.hardware,
                devices=(),
                run_directory=self._run_directory,
                working_directory=folder,
                labels={"run": self._run_id, "kind": "asked", "pid": str(os.getpid())},
                options=self._config.container_options,
            )

        return Elsewhere(self.image.id, folder, contained)

    def contain(
        self, kind: Contained, planned: PlannedDeployment, lease: Lease | None
    ) -> Callable[[Launch], Launch]:
        """What turns a command for this deployment into one that runs in a container.

        Raises:
            EngineStartError: from the function returned: a leased device is gone.
        """

        def contained(launch: Launch) -> Launch:
            physical = lease.physical if lease is not None and kind != "bench" else ()
            directory = self._run_directory / planned.profile.name / planned.deployment.name
            if kind in {"serve", "offline"}:
                directory = directory / WORK
            directory.mkdir(parents=True, exist_ok=True)
            if kind == "lm-eval":
                settings = {"HF_HOME": str(_hub_cache()), **launch.environment}
                launch = replace(launch, environment=settings)
            number = next(self._numbers)
            wrapped = container_launch(
                launch,
                runtime=self._config.container_runtime,
                image=self.image.id,
                name=f"qwenvl-{self._run_id}-{os.getpid()}-{number}-{kind}",
                backend=self._inventory.backend,
                generation=self._inventory.hardware,
                devices=_numbers(physical),
                run_directory=self._run_directory,
                working_directory=directory,
                mounts=self._mounts(kind, planned),
                labels={
                    "run": self._run_id,
                    "deployment": planned.id,
                    "kind": kind,
                    "pid": str(os.getpid()),
                    "image": self.image.reference,
                },
                preload=self._preload(planned, launch),
                options=self._config.container_options,
                patience=_OFFLINE_PATIENCE if kind == "offline" else 0.0,
            )
            lacking = self._lacking(physical) if self._inventory.backend == "npu" else []
            if lacking:
                raise EngineStartError(
                    f"{planned.id} cannot be started in a container: this host no longer has "
                    f"{', '.join(lacking)}",
                    argv=wrapped.argv,
                )
            return wrapped

        return contained

    def _mounts(self, kind: Contained, planned: PlannedDeployment) -> list[Mount]:
        mounts = [] if planned.weights is None else weight_mounts(planned.weights)
        if kind != "lm-eval":
            return mounts
        # A task's script may import what lies between it and its profile.
        profile = planned.profile.path.parent.resolve()
        for floor in planned.profile.accuracy:
            if floor.task_directory is not None:
                tasks = (profile / floor.task_directory).resolve()
                common = Path(os.path.commonpath([profile, tasks]))
                mounts.append(Mount(str(tasks if len(common.parts) < 3 else common)))
        # Published tasks take their data from the hub's cache.
        if _hub_cache().is_dir():
            mounts.append(Mount(str(_hub_cache()), writable=True))
        return mounts

    def _preload(self, planned: PlannedDeployment, launch: Launch) -> Sequence[str]:
        engine = planned.profile.engine.get(self._inventory.backend, Engine())
        given = launch.environment.get("LD_PRELOAD", "").split(":")
        return tuple(dict.fromkeys([*engine.preload, *filter(None, given)]))

    def _lacking(self, physical: Sequence[str]) -> list[str]:
        return missing(self._inventory.hardware, _numbers(physical))


def _hub_cache() -> Path:
    return Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").absolute()


def _numbers(physical: Sequence[str]) -> tuple[int, ...]:
    """The numbers of ``/dev/davinciN`` behind the identities of a lease; none of virtual ones."""
    found = (re.fullmatch(r"npu(\d+)", name) for name in physical)
    return tuple(int(match[1]) for match in found if match)
