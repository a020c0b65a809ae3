"""What released versions accept, as recorded in ``fixtures/arguments``."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_qwenvl.engines.accepted_arguments import AcceptedArguments
from pytest_qwenvl.engines.declared_names import DeclaredNames

RECORDS = Path(__file__).parents[2] / "fixtures" / "arguments"


def recorded_arguments(version: str) -> AcceptedArguments:
    return AcceptedArguments.from_json((RECORDS / f"vllm-{version}.json").read_text())


def recorded_names(vllm: str, vllm_ascend: str | None = None) -> DeclaredNames:
    variables = frozenset((RECORDS / f"vllm-{vllm}-variables.txt").read_text().split())
    if vllm_ascend is None:
        return DeclaredNames(variables)
    content = json.loads((RECORDS / f"vllm-ascend-{vllm_ascend}.json").read_text())
    keys = {name: frozenset(inner) for name, inner in content["additional_config"].items()}
    return DeclaredNames(variables | frozenset(content["variables"]), True, keys)
