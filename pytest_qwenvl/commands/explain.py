"""``pytest-qwenvl explain``: the command and environment of a deployment, ready to paste."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.errors import UsageProblem

if TYPE_CHECKING:
    from pytest_qwenvl.engines.command import Launch
    from pytest_qwenvl.engines.interpreter import Interpreter
    from pytest_qwenvl.profile import BackendName, Deployment, ModelProfile
    from pytest_qwenvl.version_binding import EngineVersions

_SHIPPED = Path("conformance") / "profiles"
_PYTHON = Path("python3")
# The end of the published image's tag; the tutorial leaves that of A5 open.
_IMAGE_SUFFIX = {"a2": "", "a3": "-a3", "310p": "-310p"}


@dataclass(frozen=True)
class _Engine:
    """What is known of the engine: its interpreter, or only versions somebody named."""

    python: Path
    versions: EngineVersions | None
    interpreter: Interpreter | None = None

    @property
    def described(self) -> str:
        if self.versions is None:
            return "no engine was looked at"
        named = {"vLLM": self.versions.vllm, "vllm-ascend": self.versions.vllm_ascend}
        return "for " + " with ".join(f"{name} {found}" for name, found in named.items() if found)


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    parser = commands.add_parser(
        "explain",
        help="print the command and environment of a deployment, ready to paste",
        description="Print the command and environment that a run starts a deployment with. Exit "
        "code: 0, or 2 for a deployment or an option that cannot be used.",
    )
    parser.add_argument("deployment", metavar="MODEL/DEPLOYMENT")
    parser.add_argument(
        "--as", dest="form", choices=("shell", "docker", "podman"), default="shell", help="as what"
    )
    parser.add_argument(
        "--backend",
        choices=("npu", "cpu"),
        default="npu",
        help="where it is to run; this host need not have it (default: npu)",
    )
    parser.add_argument(
        "--devices",
        metavar="N,…",
        help="which NPUs, as ASCEND_RT_VISIBLE_DEVICES numbers them (default: from 0 on)",
    )
    parser.add_argument("--weights-root", type=Path, metavar="DIR", help="where weights lie")
    parser.add_argument(
        "--profiles",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help=f"more profiles, or overlays of those in {_SHIPPED}; repeatable",
    )
    parser.add_argument(
        "--engine-python", type=Path, metavar="PATH", help="the interpreter that has vLLM"
    )
    parser.add_argument("--vllm", metavar="VERSION", help="resolve for this version of vLLM")
    parser.add_argument(
        "--vllm-ascend", metavar="VERSION", help="resolve for this version of vllm-ascend"
    )
    parser.add_argument("--host", default="127.0.0.1", help="where it listens")
    parser.add_argument("--port", type=int, default=8000, help="a run takes a free one")
    parser.add_argument(
        "--generation",
        choices=(*_IMAGE_SUFFIX, "a5"),
        default="a2",
        help="of the NPUs, for the container's devices (default: a2)",
    )
    parser.add_argument("--image", help="the container's image")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.explaining import as_shell, deployment_launch

    profile, deployment = _find(arguments.deployment, arguments.profiles)
    backend: BackendName = arguments.backend
    engine = _engine(arguments, backend)
    weights, modelscope, remark = _weights(profile, deployment, backend, engine, arguments)
    devices = _devices(arguments.devices, deployment.npus)
    launch = deployment_launch(
        profile,
        deployment,
        backend=backend,
        python=engine.python,
        weights=weights,
        devices=devices,
        versions=engine.versions,
        host=arguments.host,
        port=arguments.port,
        modelscope=modelscope,
        extra_environment=_host_environment(engine, backend),
    )
    if arguments.form != "shell":
        launch = _contained(launch, profile, devices, weights, engine, arguments)
    shown = ", ".join(str(number) for number in devices)
    remarks = [f"{arguments.deployment} on {backend} {shown}; {engine.described}", *remark]
    sys.stdout.write(as_shell(launch, remarks))
    return 0


def _find(name: str, directories: list[Path]) -> tuple[ModelProfile, Deployment]:
    from pytest_qwenvl.nearest import nearest
    from pytest_qwenvl.profile_loading import load_profiles

    places = [*([_SHIPPED] if _SHIPPED.is_dir() else []), *directories]
    if not places:
        raise UsageProblem(f"no profiles: there is no {_SHIPPED} here; name a folder (--profiles)")
    profiles = load_profiles(places)
    model, _, wanted = name.partition("/")
    if model not in profiles:
        raise UsageProblem(
            f"{name}: no profile is called {model!r}{nearest(model, profiles)}\n"
            f"profiles: {', '.join(profiles)}"
        )
    names = [deployment.name for deployment in profiles[model].deployments]
    if wanted not in names:
        raise UsageProblem(
            f"{name}: {model} has no deployment {wanted!r}{nearest(wanted, names)}\n"
            f"deployments: {', '.join(f'{model}/{it}' for it in names)}"
        )
    return profiles[model], profiles[model].deployment(wanted)


def _engine(arguments: argparse.Namespace, backend: BackendName) -> _Engine:
    """The interpreter that is named, else the versions that are, else what a run would find.

    A container's interpreter is the image's, of which only the versions that are named are known.
    """
    from pytest_qwenvl.config import Config
    from pytest_qwenvl.engine_session import find_interpreter
    from pytest_qwenvl.engines.interpreter import probe
    from pytest_qwenvl.version_binding import EngineVersions

    named = _named_versions(arguments, backend)
    if arguments.form != "shell":
        return _Engine(arguments.engine_python or _PYTHON, named)
    if arguments.engine_python is not None:
        found = probe(arguments.engine_python)
    elif named is not None:
        return _Engine(_PYTHON, named)
    else:
        try:
            found = find_interpreter(Config())
        except UsageProblem:
            return _Engine(_PYTHON, None)
        if found.platform != backend:
            # The other backend's engine says nothing of this one's versions.
            return _Engine(_PYTHON, None)
    there = found.engine_versions
    versions = EngineVersions(
        arguments.vllm or there.vllm, arguments.vllm_ascend or there.vllm_ascend
    )
    return _Engine(found.path, versions, found)


def _named_versions(arguments: argparse.Namespace, backend: BackendName) -> EngineVersions | None:
    from pytest_qwenvl.version_binding import EngineVersions

    given = {"vllm": arguments.vllm, "vllm_ascend": arguments.vllm_ascend}
    if not any(given.values()):
        return None
    # vllm-ascend has no place on the CPU backend; on NPUs both are there, named or not.
    expected = given if backend == "npu" else {"vllm": arguments.vllm}
    missing = frozenset(name for name, version in expected.items() if version is None)
    return EngineVersions(arguments.vllm, arguments.vllm_ascend, missing)


def _weights(
    profile: ModelProfile,
    deployment: Deployment,
    backend: BackendName,
    engine: _Engine,
    arguments: argparse.Namespace,
) -> tuple[str | Path, bool, list[str]]:
    """Where the weights are, or what a hub calls them; whether that is ModelScope; what to say."""
    from pytest_qwenvl.engines.command import profile_environment
    from pytest_qwenvl.weights import find_weights

    found = find_weights(profile, arguments.weights_root)
    if found.location is not None:
        return found.location, False, [found.problem] if found.problem else []
    settings = profile_environment(profile, deployment, backend, engine.versions)
    wanted = settings.get("VLLM_USE_MODELSCOPE", "").lower() in {"true", "1"}
    hubs = profile.weights
    if hubs.modelscope and (wanted or not hubs.huggingface):
        return hubs.modelscope, True, [f"{found.reason}; vLLM fetches them from ModelScope"]
    if hubs.huggingface:
        return hubs.huggingface, False, [f"{found.reason}; vLLM fetches them from Hugging Face"]
    raise UsageProblem(f"{profile.name}: {found.reason}, and no hub has them")


def _devices(given: str | None, npus: int) -> tuple[int, ...]:
    if given is None:
        return tuple(range(npus))
    numbers = [part.strip() for part in given.split(",")]
    if not all(number.isdecimal() for number in numbers) or len(set(numbers)) != len(numbers):
        raise UsageProblem(f"--devices {given}: needs different numbers, such as 0,1")
    return tuple(int(number) for number in numbers)


def _host_environment(engine: _Engine, backend: BackendName) -> dict[str, str]:
    if backend != "cpu" or engine.interpreter is None:
        return {}
    from pytest_qwenvl.engines.cpu.install import engine_home
    from pytest_qwenvl.engines.cpu.overlay import cpu_environment

    # A run keeps this beside its logs; here it must last until the command is run.
    return cpu_environment(engine.interpreter, engine_home() / "explained-overlay")


def _contained(
    launch: Launch,
    profile: ModelProfile,
    devices: tuple[int, ...],
    weights: str | Path,
    engine: _Engine,
    arguments: argparse.Namespace,
) -> Launch:
    from pytest_qwenvl.engines.container import container_launch, weight_mounts
    from pytest_qwenvl.engines.cpu.install import engine_home
    from pytest_qwenvl.profile import Engine

    directory = engine_home() / "explained"
    directory.mkdir(parents=True, exist_ok=True)
    return container_launch(
        launch,
        runtime=arguments.form,
        image=arguments.image or _image(engine, arguments),
        name=f"qwenvl-{profile.name}",
        backend=arguments.backend,
        generation=arguments.generation,
        devices=devices,
        run_directory=directory,
        working_directory=directory,
        mounts=weight_mounts(weights) if isinstance(weights, Path) else [],
        preload=profile.engine.get(arguments.backend, Engine()).preload,
    )


def _image(engine: _Engine, arguments: argparse.Namespace) -> str:
    version = engine.versions.vllm_ascend if engine.versions else None
    suffix = _IMAGE_SUFFIX.get(arguments.generation)
    if arguments.backend != "npu" or version is None or suffix is None:
        raise UsageProblem(
            f"--as {arguments.form}: which image? Name it (--image); for A2, A3 and 310P the "
            "version of its vllm-ascend is enough (--vllm-ascend)"
        )
    return f"quay.io/ascend/vllm-ascend:v{version}{suffix}"
