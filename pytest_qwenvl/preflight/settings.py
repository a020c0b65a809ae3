"""Settings that contradict each other, the hardware, or the engine's version."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from pytest_qwenvl.engines.command import engine_arguments, engine_environment
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.preflight.finding import Examined, Finding
from pytest_qwenvl.preflight.host import Host
from pytest_qwenvl.preflight.table import CompatibilityTable, SettingRule, in_range
from pytest_qwenvl.profile import Engine

JEMALLOC = "QVL-ENV-014"
SETTINGS = "QVL-ENV-015"

_OWN_VARIABLES = "VLLM_ASCEND_"
_DECLARED_IN = "vllm_ascend/envs.py"


def check_jemalloc(host: Host, table: CompatibilityTable, subject: PlannedDeployment) -> Examined:
    """One of the libraries that a profile preloads is there."""
    libraries = subject.profile.engine.get(host.inventory.backend, Engine()).preload
    if not libraries:
        return Examined(f"{subject.profile.name} preloads nothing")
    if host.contained:
        raise InconclusiveError("the libraries are the image's, and are not looked for there")
    found = [it for it in libraries if host.path(it).is_file()]
    if found:
        return Examined(found[0])
    return Examined(
        "no jemalloc",
        (
            Finding(
                JEMALLOC,
                f"none of {', '.join(libraries)}",
                f"one of them, to be preloaded ({subject.profile.name})",
                "apt-get install libjemalloc2, or yum install jemalloc, where the engine runs",
            ),
        ),
    )


def check_settings(host: Host, table: CompatibilityTable, subject: PlannedDeployment) -> Examined:
    """No setting of the profile or of the caller contradicts another, the chip or the version."""
    found = host.known_interpreter()
    backend, versions = host.inventory.backend, found.engine_versions
    own = engine_environment(
        subject.profile,
        subject.deployment,
        backend,
        devices=(),
        modelscope=False,
        inherited=host.environment,
        versions=versions,
    )
    variables = own if host.contained else {**host.environment, **own}
    arguments = engine_arguments(subject.profile, subject.deployment, backend, versions)
    problems: list[Finding] = []
    blamed: set[str] = set()
    for rule in table.setting:
        if not _holds(rule, host, versions.vllm, versions.vllm_ascend):
            continue
        if rule.variable is not None:
            for name in _offending_variables(rule, variables):
                where = f"in {subject.profile.name}" if name in own else "in the environment"
                seen = f"{name}={variables[name]} {where}"
                blamed.add(name)
                problems.append(Finding(SETTINGS, seen, _expected(rule), rule.remedy))
        else:
            seen = _offending_argument(rule, arguments, subject)
            if seen:
                problems.append(Finding(SETTINGS, seen, _expected(rule), rule.remedy))
    problems += _unknown_variables(host, variables, blamed)
    return Examined(f"{len(table.setting)} rules of the table", tuple(problems))


def _expected(rule: SettingRule) -> str:
    return f"{rule.expected} ({rule.source})"


def _holds(rule: SettingRule, host: Host, vllm: str | None, vllm_ascend: str | None) -> bool:
    if rule.backends and host.inventory.backend not in rule.backends:
        return False
    if rule.generations and not (
        host.inventory.npus and host.inventory.npus[0].generation in rule.generations
    ):
        return False
    ranges = ((rule.vllm, vllm), (rule.vllm_ascend, vllm_ascend))
    return all(not allowed or in_range(seen or "", allowed) for allowed, seen in ranges)


def _offending_variables(rule: SettingRule, variables: Mapping[str, str]) -> list[str]:
    return [
        name
        for name, value in sorted(variables.items())
        if fnmatchcase(name, rule.variable or "") and all(it in value for it in rule.contains)
    ]


def _offending_argument(
    rule: SettingRule, arguments: Mapping[str, Any], subject: PlannedDeployment
) -> str:
    """The argument that breaks a rule, as a person would write it; empty when none does."""
    name = rule.argument or ""
    value: Any = arguments
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    origin = f"in {subject.profile.name}"
    if name == "dtype" and value in (None, "auto"):
        value, origin = _dtype_of_weights(subject), "in the weights' config.json, none set"
    if value is None or (rule.values and value not in rule.values):
        return ""
    return f"{name} {json.dumps(value)} {origin}"


def _dtype_of_weights(subject: PlannedDeployment) -> str | None:
    """What ``dtype = "auto"`` comes to."""
    if subject.weights is None:
        return None
    try:
        config = json.loads((subject.weights / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    for table in (config, config.get("text_config") or {}):
        for key in ("dtype", "torch_dtype"):
            if isinstance(table.get(key), str):
                return str(table[key])
    return None


def _unknown_variables(host: Host, variables: Mapping[str, str], blamed: set[str]) -> list[Finding]:
    """Variables of vllm-ascend that the installed one does not read: removed, or misspelt."""
    found = host.known_interpreter()
    given = [it for it in sorted(variables) if it.startswith(_OWN_VARIABLES) and it not in blamed]
    if not given or found.versions.get("vllm_ascend") is None:
        return []
    text = found.texts.get(_DECLARED_IN)
    if text is None:
        return []
    known = set(re.findall(rf"\b{_OWN_VARIABLES}\w+", text))
    return [
        Finding(
            SETTINGS,
            f"{name}={variables[name]}",
            f"a variable that vllm-ascend {found.versions['vllm_ascend']} reads ({_DECLARED_IN} "
            "does not name this one)",
            "unset it, or write it as that version does (additional_config for most)",
        )
        for name in given
        if name not in known
    ]
