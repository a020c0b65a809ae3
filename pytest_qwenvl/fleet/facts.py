"""What a host of a fleet is and has, asked on the host itself before anything is placed."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pytest_qwenvl import __version__
from pytest_qwenvl.config import Config
from pytest_qwenvl.errors import UsageProblem

_OF_THE_SUITE = {".py", ".toml", ".ini", ".json", ".jsonl"}


@dataclass(frozen=True)
class Question:
    """What the head wants to know of every host.

    Attributes:
        config: of the run, as the head read it.
        suite: the folder of the conformance suite, at the same path everywhere.
        profiles: of the run's models, as JSON values with the file each was read from.
    """

    config: Mapping[str, Any]
    suite: str
    backend: Literal["npu", "cpu"]
    profiles: tuple[tuple[Mapping[str, Any], str], ...] = ()


@dataclass(frozen=True)
class Facts:
    """What one host said.

    Attributes:
        python, ray, pytest_qwenvl: versions.
        suite_digest: over the files of the suite; empty where it is not there.
        engine: versions of what engines run on; empty where there is none.
        engine_problem: why there is none.
        hardware: the generation of its devices.
        weights: digest of each model's weights; ``missing``: why a model's cannot be used.
    """

    python: str
    ray: str
    pytest_qwenvl: str
    suite_digest: str = ""
    engine: Mapping[str, str] = field(default_factory=dict)
    engine_problem: str = ""
    hardware: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def facts_here(question: Question, *, engine: bool = True) -> Facts:
    """Answer a question for this host; starts nothing but the interpreter of engines.

    Args:
        engine: whether engines will run here; the head alone needs none, and no weights.
    """
    config = Config.model_validate(question.config)
    versions: dict[str, str] = {}
    problem = hardware = ""
    weights: dict[str, str] = {}
    missing: dict[str, str] = {}
    if engine:
        versions, problem = _engine(config)
        hardware, no_devices = _hardware(question.backend)
        problem = problem or no_devices
        weights, missing = _weights(question, config)
    return Facts(
        python=platform.python_version(),
        ray=_version("ray"),
        pytest_qwenvl=__version__,
        suite_digest=suite_digest(Path(question.suite), *config.profile_directories),
        engine=versions,
        engine_problem=problem,
        hardware=hardware,
        weights=weights,
        missing=missing,
    )


def suite_digest(*folders: Path) -> str:
    """The sha256 (hex) over the suite's own files: tests, catalogue, profiles; empty without any.

    What Python and editors leave beside them does not count.
    """
    digest = hashlib.sha256()
    found = False
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            hidden = any(part.startswith((".", "__pycache__")) for part in name.parts)
            if path.suffix in _OF_THE_SUITE and path.is_file() and not hidden:
                found = True
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{name.as_posix()} {content}\n".encode())
    return digest.hexdigest() if found else ""


def _engine(config: Config) -> tuple[dict[str, str], str]:
    from pytest_qwenvl.engines.finding import find_interpreter

    if config.launcher == "container":
        # The image is looked at by the child pytest, before it starts anything.
        return {"image": config.image or ""}, ""
    try:
        versions = find_interpreter(config).versions
    except UsageProblem as problem:
        return {}, str(problem)
    return {name: version for name, version in versions.items() if version}, ""


def _hardware(backend: Literal["npu", "cpu"]) -> tuple[str, str]:
    from pytest_qwenvl.devices.inventory import take_inventory

    # A task that was given no device is shown none.
    shown = {its: text for its, text in os.environ.items() if its != "ASCEND_RT_VISIBLE_DEVICES"}
    try:
        return take_inventory(backend, shown).hardware, ""
    except UsageProblem as problem:
        return "", str(problem)


def _weights(question: Question, config: Config) -> tuple[dict[str, str], dict[str, str]]:
    from pytest_qwenvl.profile import ModelProfile
    from pytest_qwenvl.weights import find_weights
    from pytest_qwenvl.weights_digest import weights_digest

    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    for content, path in question.profiles:
        profile = ModelProfile.model_validate({**content, "path": Path(path)}, strict=False)
        try:
            weights = find_weights(profile, config.weights_root)
            if weights.location is None or weights.problem:
                missing[profile.name] = weights.reason
            else:
                found[profile.name] = weights_digest(weights.location)
        except (OSError, UsageProblem) as problem:
            missing[profile.name] = str(problem)
    return found, missing


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
