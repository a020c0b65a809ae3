"""The command of a deployment, written so that it can be pasted into a shell."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from pytest_qwenvl.engines.command import (
    Launch,
    launch_environment,
    offline_options,
    serve_launch,
    served_model_name,
)
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.profile import Deployment, ModelProfile
from pytest_qwenvl.profile_fields import BackendName
from pytest_qwenvl.version_binding import EngineVersions

_OFFLINE = """\
import json
from vllm import LLM
llm = LLM(**json.loads({options!r}))
"""


def deployment_launch(
    profile: ModelProfile,
    deployment: Deployment,
    *,
    backend: BackendName,
    python: Path,
    weights: str | Path,
    devices: tuple[int, ...],
    versions: EngineVersions | None,
    host: str = "127.0.0.1",
    port: int = 8000,
    modelscope: bool = False,
    extra_environment: Mapping[str, str] | None = None,
) -> Launch:
    """The command that starts the engine of a deployment as a run does.

    A served deployment is the very command of a run. An offline one is an interactive Python with
    the same ``LLM``, called ``llm``, in the same environment.

    Raises:
        UsageProblem: a number of devices that the deployment does not run on; a setting that is
            bound to versions nobody knows.
    """
    if len(devices) != deployment.npus:
        raise UsageProblem(
            f"{profile.name}/{deployment.name} runs on {deployment.npus} devices; --devices names "
            f"{len(devices)}"
        )
    if deployment.mode == "serve":
        return serve_launch(
            profile,
            deployment,
            backend=backend,
            python=python,
            weights=weights,
            served_model_name=served_model_name(profile),
            host=host,
            port=port,
            devices=devices,
            modelscope=modelscope,
            extra_environment=extra_environment,
            versions=versions,
        )
    environment = launch_environment(
        profile,
        deployment,
        backend=backend,
        weights=weights,
        devices=devices,
        modelscope=modelscope,
        extra_environment=extra_environment,
        versions=versions,
    )
    options = offline_options(
        profile, deployment, backend=backend, weights=weights, versions=versions
    )
    # As -c, not as a file or on standard input: an engine that spawns processes would run those
    # once more in each of them.
    program = _OFFLINE.format(options=json.dumps(options))
    return Launch((str(python), "-i", "-c", program), environment)


def as_shell(launch: Launch, remarks: Iterable[str] = ()) -> str:
    """A launch as text for a POSIX shell: one setting or option a line, remarks above it."""
    lines = [f"{name}={shlex.quote(value)}" for name, value in launch.environment.items()]
    words: list[str] = []
    for word in launch.argv:
        # An option starts a line, and its values follow it there.
        if word.startswith("--") and words:
            lines.append(" ".join(words))
            words = []
        words.append(shlex.quote(word))
    lines.append(" ".join(words))
    notes = "".join(f"# {remark}\n" for remark in remarks)
    return notes + " \\\n  ".join(lines) + "\n"
