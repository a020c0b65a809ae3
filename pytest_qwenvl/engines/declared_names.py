"""Which variables and ``additional_config`` keys an installed vLLM and vllm-ascend read.

Both are looked up in the source, as text: neither package refuses a name it does not know, and
importing either costs seconds (and, for vllm-ascend, an NPU).
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_qwenvl.engines.interpreter import Interpreter

_TABLES = {"environment_variables", "env_variables"}


@dataclass(frozen=True)
class DeclaredNames:
    """What the packages of one interpreter read.

    Attributes:
        variables: environment variables that vLLM or vllm-ascend declares.
        vllm_ascend: whether vllm-ascend was there to be read.
        additional_config: keys of ``additional_config`` that vllm-ascend reads, each with the keys
            of its own table; empty for a key that is no table, or one whose keys are not known.
    """

    variables: frozenset[str]
    vllm_ascend: bool = False
    additional_config: dict[str, frozenset[str]] = field(default_factory=dict)


def declared_names(interpreter: Interpreter) -> DeclaredNames | None:
    """Read the names out of an interpreter's packages; None where vLLM's source is not there."""
    vllm = interpreter.locations.get("vllm")
    return None if vllm is None else read_names(vllm, interpreter.locations.get("vllm_ascend"))


@functools.lru_cache(maxsize=8)
def read_names(vllm: Path, vllm_ascend: Path | None) -> DeclaredNames | None:
    """Read the names out of the folders of the two packages; None where vLLM's has no source."""
    try:
        variables = declared_variables((vllm / "envs.py").read_text(encoding="utf-8"))
        if vllm_ascend is None:
            return DeclaredNames(variables)
        own = declared_variables((vllm_ascend / "envs.py").read_text(encoding="utf-8"))
        keys = additional_config_keys(vllm_ascend)
    except (OSError, SyntaxError):
        return None
    return DeclaredNames(variables | own, True, keys)


def declared_variables(source: str) -> frozenset[str]:
    """The variables that a package's ``envs.py`` declares in its table."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign):
            targets: list[ast.expr] = [node.target]
        elif isinstance(node, ast.Assign):
            targets = node.targets
        else:
            continue
        named = any(isinstance(it, ast.Name) and it.id in _TABLES for it in targets)
        if named and isinstance(node.value, ast.Dict):
            found.update(key for key in map(_text, node.value.keys) if key)
    return frozenset(found)


def additional_config_keys(package: Path) -> dict[str, frozenset[str]]:
    """Every key of ``additional_config`` that the source of vllm-ascend reads."""
    keys: dict[str, frozenset[str]] = {}
    for file in sorted(package.rglob("*.py")):
        source = file.read_text(encoding="utf-8", errors="replace")
        if "additional_config" not in source:
            continue
        tree = ast.parse(source)
        for key in _keys_of(tree, "additional_config"):
            keys.setdefault(key, frozenset())
        keys.update(_sections(tree))
    return keys


def _sections(tree: ast.Module) -> dict[str, frozenset[str]]:
    """Keys whose tables are handed to a class, as ``Some(**table)`` or ``Some(table, …)``."""
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    tables: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            read = list(_keys_of(node.value, "additional_config"))
            for target in node.targets:
                if read and isinstance(target, ast.Name):
                    tables[target.id] = read[0]
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            given = [(it, False) for it in node.args[:1]]
            given += [(word.value, True) for word in node.keywords if word.arg is None]
            for table, unpacked in given:
                definition = classes.get(node.func.id)
                if definition and isinstance(table, ast.Name) and table.id in tables:
                    found[tables[table.id]] = frozenset(_keys_of_class(definition, unpacked))
    return found


def _keys_of_class(definition: ast.ClassDef, parameters: bool) -> Iterator[str]:
    """What a class reads of its table; its parameters too, where the table is unpacked."""
    for node in ast.walk(definition):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__" and parameters:
            yield from (it.arg for it in (*node.args.args[1:], *node.args.kwonlyargs))
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            if any(isinstance(it, ast.Name) and it.id == "_defaults" for it in node.targets):
                yield from (key for key in map(_text, node.value.keys) if key)
        elif isinstance(node, ast.Call) and _name(node.func) == "get" and node.args:
            yield _text(node.args[0]) or ""


def _keys_of(tree: ast.AST, table: str) -> Iterator[str]:
    """String keys read from a variable or attribute called ``table``, in whatever way."""
    for node in ast.walk(tree):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and _name(node.value) == table:
            key = node.slice
        elif isinstance(node, ast.Compare) and _name(node.comparators[0]) == table:
            key = node.left
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if _name(node.func.value) == table and node.func.attr in {"get", "pop", "setdefault"}:
                key = node.args[0] if node.args else None
            # A reader of one key: self._get_config_value(additional_config, "key", …).
            elif len(node.args) > 1 and _name(node.args[0]) == table:
                key = node.args[1]
        text = _text(key)
        if text:
            yield text


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _text(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None
