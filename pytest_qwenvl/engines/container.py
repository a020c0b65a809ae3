"""From an engine's command to the ``docker run`` or ``podman run`` that runs it in an image (pure).

The engine runs under :mod:`pytest_qwenvl.engines.container_init`, the container's first process,
and its end is made sure of by :mod:`pytest_qwenvl.engines.container_farewell`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.container_devices import device_nodes, host_access
from pytest_qwenvl.engines.process_tree import TOKEN
from pytest_qwenvl.profile_fields import BackendName

Runtime = Literal["docker", "podman"]
ENGINES = Path(__file__).parent
"""The folder whose programs run in a container too."""

_INIT = ENGINES / "container_init.py"
_FAREWELL = ENGINES / "container_farewell.py"
_LABEL = "pytest-qwenvl"
_SECRET = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS)$", re.IGNORECASE)
# Variables of the caller that say who an engine is and where it may fetch from. Everything else an
# image has its own mind of.
_PASSED_ON = (
    TOKEN,
    "VLLM_API_KEY",
    "HF_TOKEN",
    "HF_ENDPOINT",
    "MODELSCOPE_API_TOKEN",
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)


@dataclass(frozen=True)
class Mount:
    """A folder or file of the host at a path of the container.

    Attributes:
        path: in the container.
        source: on the host; the same path by default.
    """

    path: str
    source: str = ""
    writable: bool = False

    def option(self) -> str:
        """As an option of ``run``: one that fails where the source is missing."""
        # A field with a comma is quoted as in CSV, which is how both engines read the option.
        fields = [f"source={self.source or self.path}", f"target={self.path}"]
        if not self.writable:
            fields.append("readonly")
        quoted = [f'"{field}"' if "," in field else field for field in fields]
        return "--mount=" + ",".join(["type=bind", *quoted])


def container_launch(
    launch: Launch,
    *,
    runtime: Runtime,
    image: str,
    name: str,
    backend: BackendName,
    generation: str,
    devices: Sequence[int],
    run_directory: Path,
    working_directory: Path,
    mounts: Sequence[Mount] = (),
    labels: Mapping[str, str] | None = None,
    preload: Sequence[str] = (),
    options: Sequence[str] = (),
    patience: float = 0.0,
    caller: Mapping[str, str] | None = None,
    exists: Callable[[str], bool] = os.path.exists,
) -> Launch:
    """The command that runs ``launch`` in a container; its farewell removes the container.

    The container has the host's network, so that a server on 127.0.0.1 is reached there, and of
    the host's NPUs the leased ones alone. Inside, the driver counts what it finds from 0:
    ``ASCEND_RT_VISIBLE_DEVICES`` is left unset, and a number of the host would name another
    device or none. ``ASCEND_VISIBLE_DEVICES=void`` keeps Ascend Docker Runtime, where it is the
    host's default, from adding devices of its own.

    Args:
        launch: the engine's own command; the interpreter, its first word, is the image's.
        image: name with a tag or digest, or an image's id.
        name: of the container; part of no other's, which it would be taken for at the end.
        generation: of the NPUs, as the inventory names it.
        devices: leased NPUs, as the numbers of ``/dev/davinciN``; none on the CPU backend.
        run_directory: where the run writes; the one folder of the host that a container may too.
        working_directory: the command's.
        mounts: what else is there: weights, tasks.
        labels: what ``ps`` can be asked for, each below ``pytest-qwenvl.``.
        preload: shared objects of the image, preloaded where they exist.
        options: further options of ``run``, which win over those made here.
        patience: seconds that the engine has to end by itself once nobody waits for it.
        caller: the caller's environment (``os.environ``).
        exists: whether the host has a path.
    """
    argv: list[str] = [runtime, "run", "--rm", "--interactive", f"--name={name}"]
    argv += [f"--label={_LABEL}.{key}={value}" for key, value in (labels or {}).items()]
    # The client's output is the log; a copy in the engine's own store would grow with it.
    argv += ["--network=host", "--log-driver=none", f"--workdir={working_directory}"]
    places = [Mount(str(ENGINES)), Mount(str(run_directory), writable=True), *mounts]
    access = host_access(generation)
    argv.append(f"--shm-size={access.shm_size}")
    if backend == "npu":
        argv += [f"--device={node}" for node in device_nodes(generation, devices)]
        places += [Mount(path) for path in access.needed]
        places += [Mount(path) for path in access.wanted if exists(path)]
    argv += [mount.option() for mount in _once(places)]
    settings, secrets = _environment(
        launch.environment, backend, preload, os.environ if caller is None else caller
    )
    argv += [*settings, *options, image]
    argv += [launch.argv[0], str(_INIT), f"{patience:g}", str(run_directory), *launch.argv]
    farewell = (sys.executable, "-I", "-S", str(_FAREWELL), runtime, name)
    return Launch(tuple(argv), secrets, farewell)


def weight_mounts(weights: Path) -> list[Mount]:
    """The folder of a model's weights, and what links in it point to.

    A snapshot in a hub's cache is a folder of links to blobs that lie elsewhere.
    """
    mounts = [Mount(str(weights))]
    for entry in sorted(weights.iterdir()):
        if not entry.is_symlink():
            continue
        target = Path(os.path.normpath(weights / entry.readlink()))
        if weights in target.parents:
            continue
        source = entry.resolve()
        if len(target.parts) > 2 and target.name == source.name:
            mounts.append(Mount(str(target.parent), str(source.parent)))
        else:
            mounts.append(Mount(str(target), str(source)))
    return _once(mounts)


def _once(mounts: Sequence[Mount]) -> list[Mount]:
    # Outer folders first. Of two at one path the writable one counts.
    found: dict[str, Mount] = {}
    for mount in mounts:
        if mount.path not in found or mount.writable:
            found[mount.path] = mount
    return sorted(found.values(), key=lambda mount: Path(mount.path).parts)


def _environment(
    wanted: Mapping[str, str],
    backend: BackendName,
    preload: Sequence[str],
    caller: Mapping[str, str],
) -> tuple[list[str], dict[str, str]]:
    """Options that set the variables, and those that the client must have for it.

    Everybody on the host can read a command line; a secret is named there and its value is taken
    from the client's environment.
    """
    # The host's LD_PRELOAD names files of the host.
    values = {
        name: value
        for name, value in wanted.items()
        if name not in {"ASCEND_RT_VISIBLE_DEVICES", "LD_PRELOAD"}
    }
    if preload:
        values["QWENVL_PRELOAD"] = ":".join(preload)
    if backend == "npu":
        values["ASCEND_VISIBLE_DEVICES"] = "void"
    secrets = {name: value for name, value in values.items() if _SECRET.search(name)}
    by_name = [name for name in (*secrets, *_PASSED_ON) if name in {**secrets, **caller}]
    options = [f"--env={name}={value}" for name, value in values.items() if name not in secrets]
    # Podman and docker leave out a name that the client has no value for.
    options += [f"--env={name}" for name in dict.fromkeys([*by_name, TOKEN])]
    return options, secrets
