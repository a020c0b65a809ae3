"""The pages of ``docs/reference``, written from options, docstrings and schemas.

Declarations are read from their source, not from what Python makes of them, so that a page is the
same under every version of Python and pytest.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).parent
_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
_SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:")
_PROFILE = (
    "profile.py",
    "profile_accuracy.py",
    "profile_latency.py",
)


def pages() -> dict[str, str]:
    """Every page of the reference, by its file name."""
    return {
        "options.md": _options(),
        "fixtures.md": _fixtures(),
        "markers.md": _markers(),
        "hooks.md": _hooks(),
        "commands.md": _commands(),
        "profile.md": _profile(),
        "report.md": _report(),
    }


def _page(title: str, source: str, *lines: str) -> str:
    head = [f"# {title}", "", f"<!-- Written by `pytest-qwenvl reference`; edit {source}. -->", ""]
    return "\n".join([*head, *lines]).rstrip() + "\n"


def _options() -> str:
    from pytest_qwenvl.options import OPTIONS

    rows = [
        f"| `{it.flag}={it.metavar}` | `{it.ini}` | {_cell(it.help)}"
        f"{'; repeatable' if it.repeatable and 'repeatable' not in it.help else ''} |"
        for it in OPTIONS
    ]
    return _page(
        "Options",
        "pytest_qwenvl/options.py",
        "Options of pytest, each with its twin in the ini file. The command line wins; paths in an",
        "ini file are relative to it. The ini value `qwenvl_catalogue` names the catalogue of a",
        "suite; its folder is the suite.",
        "",
        "| option | ini | meaning |",
        "|---|---|---|",
        *rows,
    )


def _markers() -> str:
    from pytest_qwenvl.plugin import _MARKERS

    declared = [it.partition(": ") for it in _MARKERS]
    rows = [f"| `{name}` | {_cell(text)} |" for name, _, text in declared]
    return _page("Markers", "pytest_qwenvl/plugin.py", "| marker | meaning |", "|---|---|", *rows)


def _fixtures() -> str:
    lines = []
    for function in _functions("fixtures.py"):
        decorators = [ast.unparse(it) for it in function.decorator_list]
        found = [it for it in decorators if it.startswith("pytest.fixture")]
        if not found:
            continue
        scope = "session" if "session" in found[0] else "function"
        gives = ast.unparse(function.returns) if function.returns else "None"
        lines += [f"## {function.name}", "", f"Scope: {scope}. Gives `{gives}`.", ""]
        lines += [*_prose(function), ""]
    return _page("Fixtures", "pytest_qwenvl/fixtures.py", *lines)


def _hooks() -> str:
    module = ast.parse((_PACKAGE / "hookspecs.py").read_text(encoding="utf-8"))
    lines = [*_text(ast.get_docstring(module) or ""), ""]
    for function in _functions("hookspecs.py"):
        taken = ", ".join(it.arg for it in function.args.args)
        gives = ast.unparse(function.returns) if function.returns else "None"
        lines += [f"## {function.name}", "", f"`{function.name}({taken}) -> {gives}`", ""]
        lines += [*_prose(function), ""]
    return _page("Hooks", "pytest_qwenvl/hookspecs.py", *lines)


def _commands() -> str:
    from pytest_qwenvl.cli import COMMANDS

    commands = argparse.ArgumentParser(prog="pytest-qwenvl").add_subparsers()
    for command in COMMANDS:
        command.add_parser(commands)
    lines: list[str] = []
    for name, parser in commands.choices.items():
        lines += [f"## {name}", "", _one_line(parser.description or ""), ""]
        rows = []
        for action in parser._actions:
            if "--help" in action.option_strings or action.help is argparse.SUPPRESS:
                continue
            shown = "`, `".join(action.option_strings) or str(action.metavar or action.dest)
            if action.choices and not action.metavar:
                shown += " " + "|".join(map(str, action.choices))
            elif action.option_strings and action.nargs != 0:
                shown += f" {action.metavar or action.dest.upper()}"
            rows.append(f"| `{_cell(shown)}` | {_cell(action.help or '')} |")
        lines += ["| argument | meaning |", "|---|---|", *rows, ""] if rows else []
    return _page("Commands", "pytest_qwenvl/commands/", *lines)


def _profile() -> str:
    return _page(
        "Profiles",
        "pytest_qwenvl/profile*.py",
        "Tables of a profile, with the keys of each. A key without a default must be given; one",
        "that is not listed is an error. The file itself is `ModelProfile`.",
        "",
        *(line for name in _PROFILE for line in _classes(name, {"Model"})),
    )


def _report() -> str:
    return _page(
        "Report",
        "pytest_qwenvl/report/results.py",
        "Objects of `report.json`, which is a `RunRecord`. The same as a JSON Schema:",
        "[report.schema.json](../report.schema.json).",
        "",
        *_classes("report/results.py", {"Record"}),
    )


def _classes(name: str, bases: set[str]) -> Iterator[str]:
    """The classes of a module that derive from one of ``bases``, with their fields."""
    module = ast.parse((_PACKAGE / name).read_text(encoding="utf-8"))
    for node in module.body:
        if not isinstance(node, ast.ClassDef) or node.name in bases:
            continue
        if not {ast.unparse(it) for it in node.bases} & bases:
            continue
        yield from (f"## {node.name}", "", *_prose(node), "")
        fields = [it for it in node.body if isinstance(it, ast.AnnAssign)]
        if not fields:
            continue
        yield from ("| key | type | default |", "|---|---|---|")
        for field in fields:
            default = "" if field.value is None else f"`{_cell(ast.unparse(field.value))}`"
            kind = _cell(ast.unparse(field.annotation))
            yield f"| `{ast.unparse(field.target)}` | `{kind}` | {default} |"
        yield ""


def _functions(name: str) -> list[ast.FunctionDef]:
    module = ast.parse((_PACKAGE / name).read_text(encoding="utf-8"))
    return [
        it for it in module.body if isinstance(it, ast.FunctionDef) and not it.name.startswith("_")
    ]


def _prose(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    return _text(ast.get_docstring(node) or "")


def _text(docstring: str) -> list[str]:
    """A docstring as Markdown: its sections become lists, its roles become code."""
    lines: list[str] = []
    section = ""
    for line in docstring.replace("``", "`").splitlines():
        text = _ROLE.sub(r"`\1`", line).replace("<", "&lt;")
        if line.strip() in _SECTIONS:
            section = line.strip()
            lines += [f"**{section[:-1]}**", ""]
        elif section in {"", "Returns:"} or not text.strip():
            lines.append(text.strip())
        else:
            # An entry is indented once, what goes on with it twice.
            goes_on = line.startswith("        ")
            lines.append(f"{'  ' if goes_on else '- '}{text.strip()}")
    return lines


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|").replace("<", "&lt;")


def _one_line(text: str) -> str:
    return " ".join(text.split())
