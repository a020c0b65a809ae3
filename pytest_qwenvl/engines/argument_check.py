"""Before a start: would this engine accept a deployment's arguments and variables?

What vLLM accepts is known beforehand (:mod:`pytest_qwenvl.engines.accepted_arguments`), so this
costs milliseconds. A name that vLLM does not have is refused here; whether a *value* fits is vLLM's
to say, so its own parser is asked before anything is refused on that ground.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_qwenvl.engines.accepted_arguments import (
    AcceptedArguments,
    AcceptedOption,
    Elsewhere,
    accepted_arguments,
    cached_arguments,
    parser_complaints,
)
from pytest_qwenvl.engines.command import (
    command_options,
    engine_arguments,
    profile_environment,
)
from pytest_qwenvl.engines.declared_names import DeclaredNames, declared_names
from pytest_qwenvl.engines.interpreter import Interpreter
from pytest_qwenvl.errors import EngineError, EngineStartError
from pytest_qwenvl.live import Steps
from pytest_qwenvl.nearest import nearest
from pytest_qwenvl.profile import Deployment, ModelProfile
from pytest_qwenvl.profile_fields import BackendName, Mode
from pytest_qwenvl.profile_loading import written_in
from pytest_qwenvl.version_binding import EngineVersions

_FORMS = (
    ("integer", re.compile(r"\d+")),
    ("negative", re.compile(r"-\d+")),
    ("fraction", re.compile(r"-?\d*\.\d+([eE][+-]?\d+)?|-?\d+[eE][+-]?\d+")),
    ("size", re.compile(r"\d+(\.\d+)?[kKmMgGtT]")),
    ("auto", re.compile("auto")),
    ("object", re.compile(r"\{.*\}", re.DOTALL)),
    ("list", re.compile(r"\[.*\]", re.DOTALL)),
)


@dataclass(frozen=True)
class Refusal:
    """A setting that the engine does not accept.

    Attributes:
        name: of the argument or variable, as the profile writes it.
        why: what was seen, and the nearest valid one.
        certain: False where the engine's own parser has the last word.
    """

    name: str
    why: str
    certain: bool = True


class ArgumentCheck:
    """Holds deployments against the engine of one interpreter.

    Args:
        elsewhere: how the interpreter is asked where it is in an image. Its source is not read
            there, so that variables and ``additional_config`` go unchecked.

    Attributes:
        problem: why nothing can be checked, because the engine cannot say what it accepts; empty
            otherwise. Then the engine itself refuses what is wrong, only later.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        backend: BackendName,
        steps: Steps,
        *,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.problem = ""
        self._interpreter = interpreter
        self._backend = backend
        self._checked: set[tuple[str, str]] = set()
        self._elsewhere = elsewhere
        self._declared = declared_names(interpreter) if elsewhere is None else None
        self._accepted = cached_arguments(interpreter, elsewhere)
        if self._accepted is None:
            with steps(f"asking vLLM {interpreter.vllm_version} what it accepts (once)"):
                try:
                    self._accepted = accepted_arguments(interpreter, elsewhere)
                except EngineError as problem:
                    self.problem = str(problem)

    def check(self, profile: ModelProfile, deployment: Deployment) -> None:
        """Refuse a deployment that the engine would refuse; see :func:`check_deployment`."""
        key = profile.name, deployment.name
        if self._accepted is None or key in self._checked:
            return
        check_deployment(
            profile,
            deployment,
            self._backend,
            self._interpreter.engine_versions,
            self._accepted,
            self._declared,
            lambda options: parser_complaints(self._interpreter, [options], self._elsewhere)[0],
        )
        self._checked.add(key)


def check_deployment(
    profile: ModelProfile,
    deployment: Deployment,
    backend: BackendName,
    versions: EngineVersions,
    accepted: AcceptedArguments,
    declared: DeclaredNames | None,
    ask_parser: Callable[[list[str]], str | None],
) -> None:
    """Refuse a deployment that this engine would refuse, or whose settings it would not read.

    Args:
        declared: what vLLM and vllm-ascend read beside arguments; None where that is not known.
        ask_parser: vLLM's own parser: arguments of ``vllm serve`` to its complaint, or None.

    Raises:
        EngineStartError: with the deployment, the profile's file, every refused setting and the
            nearest valid one, and the version of vLLM.
    """
    arguments = engine_arguments(profile, deployment, backend, versions)
    refused = [
        *refused_arguments(arguments, accepted, deployment.mode),
        *refused_names(
            profile_environment(profile, deployment, backend, versions),
            arguments.get("additional_config"),
            declared,
        ),
    ]
    certain = [it for it in refused if it.certain]
    said = ""
    if refused and not certain:
        options = {
            name: value for name, value in arguments.items() if _dashed(name) in accepted.options
        }
        complaint = ask_parser(["some/model", *command_options(options)])
        if complaint is None:
            return
        certain, said = refused, f"\n  its own words: {complaint}"
    if certain:
        lines = ""
        for refusal in certain:
            file = written_in(profile, deployment, refusal.name.partition(".")[0])
            lines += f"\n  {file}: {refusal.name}: {refusal.why}"
        raise EngineStartError(
            f"{profile.name}/{deployment.name}: {accepted.engine} does not accept its settings:"
            f"{lines}{said}\n"
            "  correct the profile, or bind the setting to the versions that have it, such as "
            f"{certain[0].name.split('.')[-1]} = "
            f'{{ value = …, vllm = "<{accepted.vllm.partition("+")[0]}" }}'
        )


def refused_arguments(
    arguments: Mapping[str, Any], accepted: AcceptedArguments, mode: Mode
) -> list[Refusal]:
    """Arguments, by their names with underscores, that an engine does not accept (pure)."""
    refused = []
    for name, value in arguments.items():
        if value is None:
            continue
        why = _unknown(name, value, accepted, mode)
        if why:
            refused.append(Refusal(name, why))
            continue
        option = accepted.options.get(_dashed(name))
        if option is None or (isinstance(value, bool) and mode == "offline"):
            continue
        refused += [Refusal(name, why, certain=False) for why in _misfits(value, option)]
    return refused


def refused_names(
    environment: Iterable[str],
    additional_config: object,
    declared: DeclaredNames | None,
) -> list[Refusal]:
    """Variables and ``additional_config`` keys that nothing would read (pure).

    Of variables only those are looked at that vLLM and vllm-ascend call their own (``VLLM_…``).
    ``additional_config`` is looked at where vllm-ascend is there, which is all that reads it.
    """
    if declared is None:
        return []
    refused = [
        Refusal(name, f"no such variable is read{nearest(name, declared.variables)}")
        for name in environment
        if name.startswith("VLLM_") and name not in declared.variables
    ]
    if not declared.vllm_ascend or not isinstance(additional_config, dict):
        return refused
    for key, value in additional_config.items():
        where = f"additional_config.{key}"
        if key not in declared.additional_config:
            near = nearest(key, declared.additional_config)
            refused.append(Refusal(where, f"vllm-ascend reads no such key{near}"))
        elif isinstance(value, dict) and declared.additional_config[key]:
            known = declared.additional_config[key]
            refused += [
                Refusal(f"{where}.{inner}", f"vllm-ascend reads no such key{nearest(inner, known)}")
                for inner in value
                if inner not in known
            ]
    return refused


def _unknown(name: str, value: object, accepted: AcceptedArguments, mode: Mode) -> str:
    if mode == "offline":
        if name in accepted.llm_keywords:
            return ""
        return f"vllm.LLM takes no such argument{nearest(name, accepted.llm_keywords)}"
    # vLLM reads --table.key as that key of --table.
    option = _dashed(name).partition(".")[0]
    names = [known.replace("-", "_") for known in accepted.options]
    if value is False:
        if f"no-{option}" in accepted.options:
            return ""
        return f"`vllm serve` has no --no-{option}{nearest(name, names)}"
    if option in accepted.options:
        return ""
    return f"`vllm serve` has no --{option}{nearest(name, names)}"


def _misfits(value: object, option: AcceptedOption) -> list[str]:
    if isinstance(value, bool):
        if value and option.takes_value:
            return ["takes a value, and true is none"]
        return []
    if not option.takes_value:
        return [f"is a flag, and takes no value such as {value!r}"]
    if isinstance(value, list) and not option.several:
        return [] if option.forms is None or "list" in option.forms else ["takes one value"]
    found = []
    for one in value if isinstance(value, list) else [value]:
        text = json.dumps(one) if isinstance(one, dict | list) else str(one)
        if option.choices is not None and text not in option.choices:
            near = nearest(text, option.choices)
            found.append(f"{text!r} is none of {', '.join(option.choices)}{near}")
        elif option.forms is not None and _form(text) not in option.forms:
            found.append(f"{text!r} has none of the forms it reads ({', '.join(option.forms)})")
        elif isinstance(one, dict) and option.keys is not None:
            found += [
                f"has no key {key!r}{nearest(key, option.keys)}"
                for key in one
                if key not in option.keys
            ]
    return found


def _form(text: str) -> str:
    for form, pattern in _FORMS:
        if pattern.fullmatch(text):
            return form
    return "word"


def _dashed(name: str) -> str:
    return name.replace("_", "-")
