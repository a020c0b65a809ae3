"""From a deployment to a command line: argument names, environment, device masks.

Nothing here starts a process. vLLM's own names are used throughout, with underscores as
``EngineArgs`` has them; :func:`serve_launch` turns them into options.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.profile import Deployment, Engine, ModelProfile
from pytest_qwenvl.profile_fields import ArgumentValue, BackendName
from pytest_qwenvl.version_binding import EngineVersions, resolve


@dataclass(frozen=True)
class Launch:
    """A command and what is added to the caller's environment for it.

    Attributes:
        argv: the whole command, interpreter first.
        environment: only the variables the suite adds or overrides.
        farewell: a command that ends what the program runs outside of its own process tree (a
            container); it is run when the program is over, however that came about. The standard
            input of such a program stays open for as long as it is wanted.
    """

    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    farewell: tuple[str, ...] = ()

    def shell_line(self) -> str:
        """The command as one line that can be pasted into a shell."""
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*settings, shlex.join(self.argv)])


def served_model_name(profile: ModelProfile) -> str:
    """The name a client asks for: the hub's id, else the profile's own name.

    The hub's id is what ``vllm serve ID`` answers to without further options, so requests written
    for a published model work unchanged, wherever its weights lie.
    """
    return profile.weights.huggingface or profile.weights.modelscope or profile.name


def engine_arguments(
    profile: ModelProfile,
    deployment: Deployment,
    backend: BackendName,
    versions: EngineVersions | None = None,
) -> dict[str, ArgumentValue]:
    """Engine arguments of one deployment: the profile's, overlaid by the deployment's.

    The limit of images and videos and the number of devices are the deployment's own fields and
    win over arguments of the same name.

    Args:
        versions: the engine's, for arguments that are bound to some; None where nobody knows them.

    Raises:
        UsageProblem: an argument is bound to versions and they are not known.
    """
    arguments: dict[str, ArgumentValue] = _settings(
        "arguments", profile, deployment, backend, versions
    )
    arguments["limit_mm_per_prompt"] = {"image": deployment.images, "video": deployment.videos}
    if deployment.npus > 1:
        arguments["tensor_parallel_size"] = deployment.npus
    return arguments


def profile_environment(
    profile: ModelProfile,
    deployment: Deployment,
    backend: BackendName,
    versions: EngineVersions | None = None,
) -> dict[str, str]:
    """Variables that the profile and its deployment set; see :func:`engine_arguments`."""
    environment: dict[str, str] = _settings("environment", profile, deployment, backend, versions)
    return environment


def engine_environment(
    profile: ModelProfile,
    deployment: Deployment,
    backend: BackendName,
    *,
    devices: tuple[int, ...],
    modelscope: bool,
    mask: str | None = None,
    weights_are_local: bool = False,
    inherited: Mapping[str, str] | None = None,
    versions: EngineVersions | None = None,
) -> dict[str, str]:
    """Variables the engine process gets on top of the caller's.

    Args:
        devices: leased devices, as indices into what the caller may see.
        modelscope: whether weights are fetched from ModelScope instead of Hugging Face.
        mask: the caller's own device list (``ASCEND_RT_VISIBLE_DEVICES`` on NPUs, allowed cores
            on the CPU), through which ``devices`` are mapped; None when all are visible.
        weights_are_local: weights are a directory, so no hub may be asked for anything.
        inherited: the caller's environment, of which ``LD_PRELOAD`` is kept (``os.environ``).
        versions: the engine's, for variables that are bound to some; None where nobody knows them.

    Raises:
        UsageProblem: a leased device is not in ``mask``; a variable is bound to versions that
            are not known.
    """
    caller = os.environ if inherited is None else inherited
    environment = profile_environment(profile, deployment, backend, versions)
    preload = [path for path in _engine(profile, backend).preload if Path(path).exists()]
    if preload:
        before = environment.get("LD_PRELOAD", caller.get("LD_PRELOAD", ""))
        environment["LD_PRELOAD"] = ":".join([*preload, before] if before else preload)
    visible = _through_mask(devices, mask)
    if backend == "npu":
        environment["ASCEND_RT_VISIBLE_DEVICES"] = ",".join(visible)
    else:
        # One core a rank: a virtual device of the CPU backend is a core.
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "|".join(visible)
    environment["VLLM_NO_USAGE_STATS"] = "1"
    environment["VLLM_USE_MODELSCOPE"] = str(modelscope and not weights_are_local)
    if weights_are_local:
        environment["HF_HUB_OFFLINE"] = "1"
    return environment


def launch_environment(
    profile: ModelProfile,
    deployment: Deployment,
    *,
    backend: BackendName,
    weights: str | Path,
    devices: tuple[int, ...],
    mask: str | None = None,
    modelscope: bool = False,
    extra_environment: Mapping[str, str] | None = None,
    versions: EngineVersions | None = None,
) -> dict[str, str]:
    """:func:`engine_environment` for an engine of these weights, ``extra_environment`` on top."""
    environment = engine_environment(
        profile,
        deployment,
        backend,
        devices=devices,
        modelscope=modelscope,
        mask=mask,
        weights_are_local=Path(weights).is_dir(),
        versions=versions,
    )
    return {**environment, **(extra_environment or {})}


def serve_launch(
    profile: ModelProfile,
    deployment: Deployment,
    *,
    backend: BackendName,
    python: Path,
    weights: str | Path,
    served_model_name: str,
    host: str,
    port: int,
    devices: tuple[int, ...],
    mask: str | None = None,
    modelscope: bool = False,
    extra_environment: Mapping[str, str] | None = None,
    versions: EngineVersions | None = None,
) -> Launch:
    """The ``vllm serve`` command of a deployment.

    vLLM's entry point is run as a module of the given interpreter, not as the ``vllm`` script
    beside it: the script's first line names an interpreter of its own, which is another one when
    an environment was copied, linked or mounted elsewhere.
    """
    environment = launch_environment(
        profile,
        deployment,
        backend=backend,
        weights=weights,
        devices=devices,
        mask=mask,
        modelscope=modelscope,
        extra_environment=extra_environment,
        versions=versions,
    )
    argv = [
        *(str(python), "-m", "vllm.entrypoints.cli.main", "serve", str(weights)),
        *("--host", host, "--port", str(port), "--served-model-name", served_model_name),
        *command_options(engine_arguments(profile, deployment, backend, versions)),
    ]
    return Launch(tuple(argv), environment)


def offline_options(
    profile: ModelProfile,
    deployment: Deployment,
    *,
    backend: BackendName,
    weights: str | Path,
    versions: EngineVersions | None = None,
) -> dict[str, ArgumentValue]:
    """Keyword arguments for ``vllm.LLM``."""
    arguments = engine_arguments(profile, deployment, backend, versions)
    given = {name: value for name, value in arguments.items() if value is not None}
    return {"model": str(weights), **given}


def command_options(arguments: Mapping[str, ArgumentValue]) -> list[str]:
    """Arguments with underscores as command line options.

    ``True`` becomes ``--flag``, ``False`` ``--no-flag``, ``None`` nothing; a table becomes JSON,
    a list one option with several values.
    """
    options: list[str] = []
    for name, value in arguments.items():
        dashed = name.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            options.append(f"--{dashed}" if value else f"--no-{dashed}")
        elif isinstance(value, list):
            options += [f"--{dashed}", *(_option_text(element) for element in value)]
        else:
            options += [f"--{dashed}", _option_text(value)]
    return options


def _option_text(value: object) -> str:
    if isinstance(value, dict | list | bool):
        return json.dumps(value, separators=(",", ":"))
    return str(value)


def _engine(profile: ModelProfile, backend: BackendName) -> Engine:
    return profile.engine.get(backend, Engine())


def _settings(
    kind: Literal["arguments", "environment"],
    profile: ModelProfile,
    deployment: Deployment,
    backend: BackendName,
    versions: EngineVersions | None,
) -> dict[str, Any]:
    # Resolved one by one: where the deployment's binding does not hold, the profile's value does.
    general = getattr(_engine(profile, backend), kind)
    own = getattr(deployment, kind)
    return {
        **resolve(general, versions, f"{profile.path}: engine.{backend}.{kind}"),
        **resolve(own, versions, f"{profile.path}: {deployment.name}.{kind}"),
    }


def _through_mask(devices: Sequence[int], mask: str | None) -> list[str]:
    if mask is None:
        return [str(index) for index in devices]
    visible = [entry.strip() for entry in mask.split(",") if entry.strip()]
    outside = [index for index in devices if not 0 <= index < len(visible)]
    if outside:
        raise UsageProblem(
            f"device {outside[0]} is not among the {len(visible)} that this process may use "
            f"(mask {mask!r}); lower --npus or widen the mask"
        )
    return [visible[index] for index in devices]
