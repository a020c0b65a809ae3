"""What results rest on, written down so that a later run can tell whether they still hold.

Inputs are texts under names that a person knows (``vllm``, ``argument max_model_len``). A value
that is long, or says nothing to a person, stands as its digest. Ports, temporary folders and the
numbers of the leased devices are no inputs: they differ between runs that are alike.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pytest_qwenvl import __version__
from pytest_qwenvl.catalogue import Catalogue
from pytest_qwenvl.planning import Plan, PlannedDeployment
from pytest_qwenvl.report.evidence import Redactor
from pytest_qwenvl.report.results import Record
from pytest_qwenvl.report.verdict import HOST
from pytest_qwenvl.weights_digest import weights_fingerprint

if TYPE_CHECKING:
    from pytest_qwenvl.config import Config
    from pytest_qwenvl.engine_session import EngineSession

DIGEST = "sha256:"

_PACKAGE = Path(__file__).parent
_DIGEST_LETTERS = 16
# The parts of a profile that no test looks at, and those that arguments and environment tell.
_SAYS_NOTHING = frozenset({"title", "notes", "engine", "weights"})
_NOT_OF_A_DEPLOYMENT = {"why", "estimated_seconds", "start_timeout", "arguments", "environment"}
# Variables of the caller that an engine, which inherits them, looks at.
_INHERITED = re.compile(
    r"(VLLM_|ASCEND_|HCCL_|ACL_|ATB_|TORCH|PYTORCH_|OMP_|LD_PRELOAD$|LD_LIBRARY_PATH$)"
)
# Set for every engine alike, or by the lease; a port is reserved for each start.
_PER_RUN = frozenset(
    {"ASCEND_RT_VISIBLE_DEVICES", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_PORT", "VLLM_API_KEY"}
)
_IMPORTED = re.compile(r"^(?:from|import)\s+(\w+)", re.MULTILINE)


class RunInputs(Record):
    """What the results of a run rest on.

    Attributes:
        suite_version: of this package.
        catalogue_version: of the requirements.
        selection: how the run was narrowed, and to which models.
        requirements: digest of each entry of the catalogue, by id.
        tests: digest of each file of tests, by its path in node ids.
        baseline: digest of the report that the run compares with; empty without one.
        host: name of the host, which results of the environment rest on.
        places: of each deployment (``MODEL/DEPLOYMENT``), and of the host itself, the inputs of
            all its results, by name.
    """

    suite_version: str
    catalogue_version: str
    selection: str = ""
    requirements: dict[str, str] = Field(default_factory=dict)
    tests: dict[str, str] = Field(default_factory=dict)
    baseline: str = ""
    host: str = ""
    places: dict[str, dict[str, str]] = Field(default_factory=dict)


def digest_of(content: bytes) -> str:
    """A short digest of a value that is too long to be shown."""
    return DIGEST + hashlib.sha256(content).hexdigest()[:_DIGEST_LETTERS]


def inputs_of_run(
    config: Config,
    plan: Plan,
    catalogue: Catalogue,
    root: Path,
    *,
    selection: str,
    engines: EngineSession | None,
    versions: Mapping[str, str],
    builds: Mapping[str, str],
    facts: Mapping[str, Any],
) -> RunInputs:
    """What the results of the run that is about to begin rest on.

    Args:
        root: pytest's root folder, to which node ids are relative.
        engines: what starts this run's engines; None for an attached server.
        versions: of everything the engine's interpreter has, or what an attached server tells.
        builds: digests that identify the engine's wheels.
        facts: what else is known of the host: its processor, and what vendors' plugins tell.
    """
    shared = {
        "catalogue": catalogue.version,
        "suite's code": suite_digest(config.suite, root) if config.suite else "",
        "backend": plan.inventory.backend if plan.endpoint is None else "attached",
        "launcher": config.launcher,
        "load seed": str(config.load_seed),
        **{name: version for name, version in versions.items() if version},
        **{f"host {name}": _text(value) for name, value in facts.items() if value is not None},
    }
    if builds:
        shared["engine build"] = digest_of(_canonical(dict(builds)))
    if plan.endpoint is not None:
        shared["endpoint"] = plan.endpoint
    elif engines is not None:
        shared |= _of_engines(config, plan, engines)
    places = {one.id: {**shared, **_of_place(one, plan, engines)} for one in plan.deployments}
    return RunInputs(
        suite_version=__version__,
        catalogue_version=catalogue.version,
        selection=selection,
        requirements={
            it.id: digest_of(it.model_dump_json().encode()) for it in catalogue.requirements
        },
        tests=test_digests(config.suite, root) if config.suite else {},
        baseline=_baseline_digest(config.baseline),
        host=platform.node(),
        places={HOST: shared, **places},
    )


def suite_digest(suite: Path, root: Path) -> str:
    """Digest of the code that every test rests on: this package, and the suite but for its tests.

    That is the suite's modules and tables, and the packages beside it that they import. The
    catalogue, the profiles and the files of tests have digests of their own.
    """
    own = [it for it in _files(suite, (".py", ".toml")) if not _is_apart(it, suite)]
    imported = {name for path in _files(suite, (".py",)) for name in _imports(path)}
    beside = [root / name for name in sorted(imported) if (root / name / "__init__.py").is_file()]
    whole = hashlib.sha256()
    for folder in dict.fromkeys([_PACKAGE, *beside]):
        if folder != suite:
            own += _files(folder, (".py",))
    for path in own:
        whole.update(f"{path.name}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return DIGEST + whole.hexdigest()[:_DIGEST_LETTERS]


def test_digests(suite: Path, root: Path) -> dict[str, str]:
    """Digest of each file of tests, by the path that its node ids begin with."""
    found = {}
    for path in _files(suite, (".py",)):
        if path.name.startswith("test_") or path.name.endswith("_test.py"):
            name = path.relative_to(root) if path.is_relative_to(root) else path
            found[name.as_posix()] = digest_of(path.read_bytes())
    return found


def _is_apart(path: Path, suite: Path) -> bool:
    inside = path.relative_to(suite)
    return (
        inside.name.startswith("test_")
        or inside.name.endswith("_test.py")
        or inside.parts[0] == "profiles"
        or inside.name == "requirements.toml"
    )


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in endings and path.is_file())


def _imports(path: Path) -> Iterable[str]:
    return _IMPORTED.findall(path.read_text(encoding="utf-8", errors="replace"))


def _of_engines(config: Config, plan: Plan, engines: EngineSession) -> dict[str, str]:
    """Inputs of whatever this run starts, wherever it does."""
    from pytest_qwenvl.preflight.driver_stack import installed_versions
    from pytest_qwenvl.preflight.host import Host

    found = {"engine's python": engines.interpreter.python_version}
    if engines.container is not None:
        found["container runtime"] = config.container_runtime
        found["container options"] = _text(list(config.container_options))
    else:
        found |= _inherited()
    if plan.inventory.backend == "npu":
        host = Host(
            plan.inventory,
            engines.interpreter,
            os.environ,
            contained=engines.container is not None,
        )
        found |= installed_versions(host)
        kinds = sorted({npu.name for npu in plan.inventory.npus})
        found["devices"] = ", ".join([plan.inventory.hardware, *kinds])
    return found


def _inherited() -> dict[str, str]:
    """The caller's own variables; one that looks like a credential is only known to be there."""
    named = {
        name: value
        for name, value in os.environ.items()
        if _INHERITED.match(name) and name not in _PER_RUN
    }
    shown = Redactor().environment(named)
    return {f"variable {name}": value for name, value in sorted(shown.items())}


def _of_place(one: PlannedDeployment, plan: Plan, engines: EngineSession | None) -> dict[str, str]:
    found = {f"profile's {name}": value for name, value in _of_profile(one).items()}
    if one.weights is not None:
        found["weights"] = weights_fingerprint(one.weights)
    if engines is None:
        return found
    from pytest_qwenvl.engines.command import engine_arguments, engine_environment

    backend, known = plan.inventory.backend, engines.interpreter.engine_versions
    arguments = engine_arguments(one.profile, one.deployment, backend, known)
    environment = engine_environment(
        one.profile,
        one.deployment,
        backend,
        devices=(),
        modelscope=False,
        weights_are_local=one.weights is not None,
        versions=known,
    )
    found |= {f"argument {name}": _text(value) for name, value in arguments.items()}
    shown = Redactor().environment(environment)
    found |= {f"variable {name}": it for name, it in shown.items() if name not in _PER_RUN}
    return found


def _of_profile(one: PlannedDeployment) -> dict[str, str]:
    """Digests of what the profile says of this deployment, by the profile's own keys."""
    whole = one.profile.model_dump(mode="json")
    own = one.deployment.model_dump(mode="json")
    whole["deployments"] = {k: v for k, v in own.items() if k not in _NOT_OF_A_DEPLOYMENT}
    return {
        name: digest_of(_canonical(_of_deployment(value, one.deployment.name)))
        for name, value in whole.items()
        if name not in _SAYS_NOTHING
    }


def _of_deployment(value: Any, name: str) -> Any:
    """A table of the profile without the entries that another deployment is named in."""
    if not isinstance(value, list):
        return value
    return [it for it in value if not isinstance(it, dict) or it.get("deployment", name) == name]


def _baseline_digest(path: Path | None) -> str:
    if path is None:
        return ""
    from pytest_qwenvl.report.directory import REPORT_NAME

    # It was read before, so it is there.
    return digest_of((path / REPORT_NAME if path.is_dir() else path).read_bytes())


def _text(value: object) -> str:
    return value if isinstance(value, str) else _canonical(value).decode()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode()
