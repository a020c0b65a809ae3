"""What the suite knows of one model: the strict schema of a profile file.

A profile is data. An unknown or misspelt key, or a value of the wrong type, is an error that
names the file, the key and the nearest valid one (see :mod:`pytest_qwenvl.profile_loading`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from pytest_qwenvl.devices.choosing import Exclusive
from pytest_qwenvl.profile_accuracy import MODE_OF_HARNESS, AccuracyFloor, Understanding
from pytest_qwenvl.profile_fields import (
    BackendName,
    BoundArgument,
    BoundVariable,
    Capability,
    Family,
    Identifier,
    Mode,
    Model,
    Source,
)
from pytest_qwenvl.profile_latency import LatencyWorkload, OfflineBench
from pytest_qwenvl.profile_soak import SoakLoad


class Weights(Model):
    """Where a model's weights come from.

    ``path`` is only for weights that travel with the suite (the reference checkpoints); it is
    relative to the profile file.
    """

    huggingface: str | None = None
    modelscope: str | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _has_a_place(self) -> Weights:
        if not (self.huggingface or self.modelscope or self.path):
            raise ValueError("needs at least one of huggingface, modelscope, path")
        return self


class ImageConstants(Model):
    """The constants of a family's image processor, from which prompt tokens are predicted.

    Attributes:
        patch_size: side of one vision patch (pixels).
        merge_size: patches merged per side into one token.
        min_pixels, max_pixels: bounds of the resized area (pixels).
        tutorial_text_tokens: prompt tokens of the tutorial's chat request beside those of the
            image itself, vision start and end included.
    """

    patch_size: int = Field(gt=0)
    merge_size: int = Field(gt=0)
    min_pixels: int = Field(gt=0)
    max_pixels: int = Field(gt=0)
    tutorial_text_tokens: int = Field(gt=0)
    source: Source


class Engine(Model):
    """Engine arguments and environment that hold for every deployment on one backend.

    ``arguments`` are vLLM's own names with underscores, as ``EngineArgs`` has them;
    ``preload`` lists shared objects of which those that exist go into ``LD_PRELOAD``. Values may
    be bound to versions (:mod:`pytest_qwenvl.version_binding`).
    """

    arguments: dict[str, BoundArgument] = Field(default_factory=dict)
    environment: dict[str, BoundVariable] = Field(default_factory=dict)
    preload: list[str] = Field(default_factory=list)


class Deployment(Model):
    """One way to run a model: mode, device count, engine arguments, environment.

    Arguments and variables win over those of :class:`Engine` and may be bound to versions too.

    Attributes:
        images: the limit of images in one prompt (``limit_mm_per_prompt``).
        capabilities: what the server is declared to have or to lack, by the names of
            :data:`pytest_qwenvl.capabilities.PROBES`; what is not declared is asked of it.
        estimated_seconds: how long its tests are expected to take, start-up included; only
            used to order the work.
        start_timeout: seconds after which an engine that is not ready counts as hung.
        exclusive: what nobody else may use while it runs: its devices, their whole cards, or every
            device of the host. What stays empty counts against ``--npus``. For latency, which
            suffers from neighbours.
        hardware: the generations it is for, as the inventory names them (``a2``, ``a3``, ``310p``,
            ``a5``, ``cpu``); any where there is none.
        host_labels: labels that a fleet's host must carry (``ray start --labels``) to be given it;
            a run on one host knows none and heeds none.
    """

    name: Identifier
    mode: Mode
    npus: int = Field(ge=1)
    images: int = Field(ge=0)
    videos: int = Field(default=0, ge=0)
    capabilities: dict[Capability, bool] = Field(default_factory=dict)
    arguments: dict[str, BoundArgument] = Field(default_factory=dict)
    environment: dict[str, BoundVariable] = Field(default_factory=dict)
    estimated_seconds: float = Field(default=600.0, gt=0)
    start_timeout: float = Field(default=2800.0, gt=0)
    exclusive: Exclusive = "devices"
    hardware: list[str] = Field(default_factory=list)
    host_labels: dict[str, str] = Field(default_factory=dict)
    why: str = ""


class ModelProfile(Model):
    """Everything the suite knows of one model.

    Attributes:
        path: the file that defines it; relative paths in it start there.
        sources: every file it was read from, what it extends first and overlays last.
    """

    schema_version: Literal[1]
    name: Identifier
    title: str
    family: Family
    reference: bool = False
    quantization: str | None = None
    weights: Weights
    image: ImageConstants
    engine: dict[BackendName, Engine] = Field(default_factory=dict)
    understanding: Understanding
    deployments: list[Deployment] = Field(min_length=1)
    accuracy: list[AccuracyFloor] = Field(default_factory=list)
    latency: list[LatencyWorkload] = Field(default_factory=list)
    offline_bench: list[OfflineBench] = Field(default_factory=list)
    soak: SoakLoad | None = None
    notes: list[str] = Field(default_factory=list)
    path: Path = Field(default=Path(), exclude=True)
    sources: tuple[Path, ...] = Field(default=(), exclude=True)

    @model_validator(mode="after")
    def _names_are_consistent(self) -> ModelProfile:
        names = [deployment.name for deployment in self.deployments]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"deployment names must differ; repeated: {', '.join(repeated)}")
        users = [
            ("accuracy", a.task, a.deployment, MODE_OF_HARNESS[a.harness]) for a in self.accuracy
        ]
        users += [("latency", w.name, w.deployment, "serve") for w in self.latency]
        users += [("offline_bench", b.program, b.deployment, "offline") for b in self.offline_bench]
        modes = {deployment.name: deployment.mode for deployment in self.deployments}
        for table, user, deployment, mode in users:
            if modes.get(deployment) != mode:
                known = ", ".join(name for name, its in modes.items() if its == mode) or "none"
                raise ValueError(
                    f"{table} {user!r} names {deployment!r}, which is no deployment of mode "
                    f"{mode!r}; there are: {known}"
                )
        places = [f"{floor.task} on {floor.deployment}" for floor in self.accuracy]
        twice = sorted({place for place in places if places.count(place) > 1})
        if twice:
            raise ValueError(f"accuracy has more than one floor of {', '.join(twice)}")
        return self

    def deployment(self, name: str) -> Deployment:
        """The deployment called ``name``; raises KeyError for a name the profile lacks."""
        for deployment in self.deployments:
            if deployment.name == name:
                return deployment
        raise KeyError(name)
