"""``pytest-qwenvl explain``: the command and environment of a deployment, ready to paste."""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.errors import InconclusiveError, UsageProblem

if TYPE_CHECKING:
    from pytest_qwenvl.engines.command import Launch
    from pytest_qwenvl.engines.interpreter import Interpreter
    from pytest_qwenvl.profile import Deployment, ModelProfile
    from pytest_qwenvl.profile_fields import BackendName
    from pytest_qwenvl.version_binding import EngineVersions

_SHIPPED = Path("conformance") / "profiles"
_TABLE = Path("conformance") / "compatibility.toml"
_PYTHON = Path("python3")
# The end of the published image's tag; the tutorial leaves that of A5 open.
_IMAGE_SUFFIX = {"a2": "", "a3": "-a3", "310p": "-310p"}


@dataclass(frozen=True)
class _Engine:
    """What is known of the engine: its interpreter, or only versions somebody named."""

    python: Path
    versions: EngineVersions | None
    why: str
    interpreter: Interpreter | None = None

    @property
    def described(self) -> str:
        if self.versions is None:
            return "no engine was looked at"
        named = {"vLLM": self.versions.vllm, "vllm-ascend": self.versions.vllm_ascend}
        shown = " with ".join(f"{name} {found}" for name, found in named.items() if found)
        return f"for {shown}, {self.why}"


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    from pytest_qwenvl.commands.plugins import add_plugin_option

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
    add_plugin_option(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.added_settings import add_settings
    from pytest_qwenvl.config import Config
    from pytest_qwenvl.explaining import as_shell, deployment_launch
    from pytest_qwenvl.extensions import plugins_outside_pytest

    profile, deployment = _find(arguments.deployment, arguments.profiles)
    backend: BackendName = arguments.backend
    asked = Config(
        backend=backend,
        profile_directories=tuple(arguments.profiles),
        weights_root=arguments.weights_root,
        engine_python=arguments.engine_python,
    )
    deployment, added = add_settings(
        plugins_outside_pytest(arguments.plugins), asked, profile, deployment, backend
    )
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
    remarks += [f"{name} is added by plugin {plugin}" for name, plugin in added.items()]
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

    A container's interpreter is the image's, of which only versions are known.
    """
    from pytest_qwenvl.config import Config
    from pytest_qwenvl.engines.finding import find_interpreter
    from pytest_qwenvl.engines.interpreter import probe
    from pytest_qwenvl.version_binding import EngineVersions

    found: Interpreter | None = None
    in_image = arguments.form != "shell"
    if arguments.engine_python is not None and not in_image:
        found = probe(arguments.engine_python)
    elif not (in_image or arguments.vllm or arguments.vllm_ascend):
        with contextlib.suppress(UsageProblem):
            found = find_interpreter(Config())
        if found is not None and found.platform != backend:
            # The other backend's engine says nothing of this one's versions.
            found = None
    if found is None:
        versions, why = _versions(arguments, backend)
        return _Engine(arguments.engine_python or _PYTHON, versions, why)
    there = found.engine_versions
    versions = EngineVersions(
        arguments.vllm or there.vllm, arguments.vllm_ascend or there.vllm_ascend
    )
    return _Engine(found.path, versions, f"as {found.path} has them", found)


def _versions(
    arguments: argparse.Namespace, backend: BackendName
) -> tuple[EngineVersions | None, str]:
    """Versions without an interpreter, and why these; None where nobody knows them."""
    from pytest_qwenvl.version_binding import EngineVersions

    vllm, vllm_ascend = arguments.vllm, arguments.vllm_ascend
    if backend == "cpu":
        return (EngineVersions(vllm) if vllm else None), "as named"
    why = "as named"
    if not vllm and _TABLE.is_file():
        from packaging.version import Version

        from pytest_qwenvl.preflight.table import load_table

        table = load_table(_TABLE)
        if not vllm_ascend:
            final = [
                it.vllm_ascend for it in table.release if not Version(it.vllm_ascend).is_prerelease
            ]
            vllm_ascend = max(final, key=Version)
            why = f"the newest release in {_TABLE}"
        with contextlib.suppress(InconclusiveError):
            vllm = table.release_of(vllm_ascend).vllm.removeprefix("==")
    known = {"vllm": vllm, "vllm_ascend": vllm_ascend}
    unknown = frozenset(name for name, version in known.items() if not version)
    return (EngineVersions(vllm, vllm_ascend, unknown) if len(unknown) < 2 else None), why


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
