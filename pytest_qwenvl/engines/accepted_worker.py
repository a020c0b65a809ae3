"""Runs in the engine's interpreter: what its vLLM accepts, or what it says of one command line.

``accepted_worker.py RESULT`` writes the options of ``vllm serve`` and the keyword arguments of
``vllm.LLM`` as JSON; ``accepted_worker.py RESULT COMMANDS`` (a JSON list of argument lists of
``vllm serve``) parses each instead and writes what the parser complains of, ``null`` where it
accepts them. No engine is made.
Imports nothing of this package, whose dependencies the engine's interpreter need not have.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import inspect
import io
import json
import sys
import typing
from importlib import import_module
from pathlib import Path
from typing import Any

# Where vLLM builds the parser of ``vllm serve``, newest place first.
_BUILDERS = (
    "vllm.entrypoints.launchers.cli_args",  # 0.32
    "vllm.entrypoints.openai.cli_args",  # 0.23
)
# One text of every form that a value on a command line can have.
SPECIMENS = {
    "integer": "7",
    "negative": "-1",
    "fraction": "0.5",
    "size": "16k",
    "auto": "auto",
    "word": "specimen",
    "object": "{}",
    "list": "[]",
}


def serve_parser() -> argparse.ArgumentParser:
    """The parser of ``vllm serve``, with what the platform's plugin adds to it."""
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(prog="vllm serve")
    for place in _BUILDERS:
        try:
            module = import_module(place)
        except ModuleNotFoundError as problem:
            if not place.startswith(problem.name or ""):
                raise
            continue
        built: argparse.ArgumentParser = module.make_arg_parser(parser)
        return built
    raise SystemExit(f"vLLM's parser of `serve` is in none of {', '.join(_BUILDERS)}")


def describe(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Every option of a parser, by its names without leading dashes."""
    keys = _keys_of_tables()
    return {
        name.removeprefix("--"): _option(parser, action, keys.get(action.dest))
        for action in parser._actions
        for name in action.option_strings
        if name.startswith("--")
    }


def _option(
    parser: argparse.ArgumentParser, action: argparse.Action, keys: list[str] | None
) -> dict[str, Any]:
    if action.nargs == 0:
        return {"takes_value": False}
    forms = _forms(parser, action)
    return {
        "several": action.nargs in ("+", "*") or action.nargs not in (None, 1, "?"),
        "choices": None if action.choices is None else [str(it) for it in action.choices],
        "forms": None if len(forms) == len(SPECIMENS) else forms,
        "keys": keys,
    }


def _forms(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    accepted = []
    for form, text in SPECIMENS.items():
        with contextlib.suppress(Exception):
            parser._get_value(action, text)
            accepted.append(form)
    return accepted


def _keys_of_tables() -> dict[str, list[str]]:
    """Engine arguments that are tables with fields of their own, and these fields."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    found = {}
    for argument in dataclasses.fields(AsyncEngineArgs):
        # A hint in quotes, which names what only a type checker imports, is a string: no table.
        hints = (argument.type, *typing.get_args(argument.type))
        tables: list[Any] = [hint for hint in hints if dataclasses.is_dataclass(hint)]
        if len(tables) == 1:
            found[argument.name] = sorted(field.name for field in dataclasses.fields(tables[0]))
    return found


def llm_keywords() -> list[str]:
    """What ``vllm.LLM`` takes: its own parameters and the fields of ``EngineArgs``."""
    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs

    own = {
        name
        for name, parameter in inspect.signature(LLM.__init__).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    fields = {field.name for field in dataclasses.fields(EngineArgs) if field.init}
    return sorted((own | fields) - {"self"})


def complaint(parser: argparse.ArgumentParser, arguments: list[str]) -> str | None:
    """What the parser says of the arguments of ``vllm serve``; None when it accepts them."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser.parse_args(arguments)
    except SystemExit as end:
        if end.code:
            return said.getvalue().strip().splitlines()[-1] if said.getvalue() else str(end.code)
    except Exception as problem:  # vLLM raises ValueError of its own for some
        return f"{type(problem).__name__}: {problem}"
    return None


def main(result: Path, commands: list[list[str]]) -> None:
    """Write the answer to ``result``."""
    parser = serve_parser()
    answer: dict[str, Any]
    if commands:
        answer = {"complaints": [complaint(parser, arguments) for arguments in commands]}
    else:
        answer = {"options": describe(parser), "llm_keywords": llm_keywords()}
    result.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]) if len(sys.argv) > 2 else [])
