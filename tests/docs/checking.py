"""What can be said of a block without running it: its options, files, names and syntax exist."""

from __future__ import annotations

import ast
import fnmatch
import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.profile_loading import load_profiles
from pytest_qwenvl.waivers import load_waivers
from tests.docs import known
from tests.docs.blocks import CHECKOUT, Block
from tests.docs.shell import ELLIPSIS, commands, words

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LANGUAGES = {"", "text", "bash", "console", "toml", "ini", "json", "python"}
# Folders of a checkout: whoever names something in them means a file that must be there.
_OURS = ("conformance/", "tests/", "fixtures/", "docs/", "benchmarks/", "examples/")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


def check(block: Block, page: Sequence[Block], folder: Path) -> None:
    """Check one block, knowing the rest of its page.

    Args:
        block: the block.
        page: all blocks of the page; names that its files define count as known.
        folder: an empty folder for files that must be read to be checked.

    Raises:
        PageProblem: an option, subcommand, marker, profile, deployment, tox environment, extra,
            module or file that does not exist, or text that is not of its language.
    """
    if block.language not in LANGUAGES:
        raise block.problem(f"language {block.language!r}: not one of {sorted(LANGUAGES)}")
    if block.mark.kind == "run" and block.language not in {"bash", "console"}:
        raise block.problem("'run' is for bash and console blocks")
    if block.mark.kind == "output" and block.language not in {"", "text", "json"}:
        raise block.problem("'output' is for text and json blocks")
    try:
        if block.language in {"bash", "console"}:
            for command in commands(block):
                for argv in words(command.text):
                    _check_argv(argv, _own_names(page))
        elif block.language == "toml":
            _check_toml(block, folder)
        elif block.language == "json" and ELLIPSIS not in block.text:
            json.loads(block.text)
        elif block.language == "python":
            ast.parse(block.text)
    except (ValueError, SyntaxError, UsageProblem) as error:
        raise block.problem(str(error)) from error


def _own_names(page: Sequence[Block]) -> set[str]:
    """Profiles that the page itself writes."""
    named = (re.findall(r'^name = "([^"]+)"', it.text, re.MULTILINE) for it in page)
    return {name for names in named for name in names}


def _check_argv(argv: list[str], own: set[str]) -> None:
    while argv and _ASSIGNMENT.match(argv[0]):
        argv = argv[1:]
    if not argv or ELLIPSIS in argv[0] or argv[0] in {".", "source"}:
        return
    program, rest = Path(argv[0]).name, argv[1:]
    if program in {"python", "python3"} and rest[:1] == ["-m"]:
        program, rest = rest[1], rest[2:]
        if program not in {"pytest", "pip", "tox", "venv", "http.server"}:
            if importlib.util.find_spec(program) is None:
                raise ValueError(f"python -m {program}: no such module")
            return
    if program == "pytest":
        _check_pytest(rest, own)
    elif program == "pytest-qwenvl":
        _check_command(rest, own)
    elif program == "tox":
        _check_tox(rest, own)
    elif program == "pip":
        _check_extras(rest)
    elif program not in known.OTHER_PROGRAMS and program not in {"venv", "http.server"}:
        raise ValueError(f"{program}: not a program that pages use (tests/docs/known.py)")
    for word in rest:
        _check_file(word)


def _check_pytest(arguments: list[str], own: set[str]) -> None:
    for option, value in _options(arguments):
        if option not in known.pytest_options():
            raise ValueError(f"pytest has no {option}")
        if option == "--model":
            _check_model(value, own)
        if option == "-m":
            for name in set(re.findall(r"\w+", value)) - {"and", "or", "not"}:
                if name not in known.markers():
                    raise ValueError(f"-m {value!r}: no marker {name}")


def _check_command(arguments: list[str], own: set[str]) -> None:
    if not arguments or arguments[0].startswith("-"):
        return
    name = arguments[0]
    if name not in known.subcommands():
        raise ValueError(f"pytest-qwenvl has no {name}")
    for option, value in _options(arguments[1:]):
        if option == "--" or (name == "fleet" and option in known.pytest_options()):
            continue
        if option not in known.command_options(name):
            raise ValueError(f"pytest-qwenvl {name} has no {option}")
        if option == "--model":
            _check_model(value, own)
    if name == "explain" and "/" in arguments[1]:
        _check_model(arguments[1], own)


def _check_tox(arguments: list[str], own: set[str]) -> None:
    ours, after = arguments, []
    if "--" in arguments:
        cut = arguments.index("--")
        ours, after = arguments[:cut], arguments[cut + 1 :]
    named = [value for option, value in _options(ours) if option == "-e"]
    if all(known.tox_hands_to_pytest(it) for it in named):
        _check_pytest(after, own)
    for option, value in _options(ours):
        wanted = known.tox_environments() if option == "-e" else known.tox_labels()
        if option in {"-e", "-m"} and value not in wanted:
            raise ValueError(f"tox {option} {value}: not in tox.ini")


def _check_extras(arguments: list[str]) -> None:
    for word in arguments:
        # Of another distribution's extras nothing is known here.
        if found := re.fullmatch(r"(?:\.|pytest-qwenvl|pytest_qwenvl\S*)\[([\w,-]+)\]", word):
            for extra in found[1].split(","):
                if extra not in known.extras():
                    raise ValueError(f"{word}: no extra {extra!r} in pyproject.toml")


def _check_model(value: str, own: set[str]) -> None:
    name, _, deployment = value.partition("/")
    if name in own or name.isupper() or ELLIPSIS in name:
        return
    matching = fnmatch.filter(known.profiles(), name)
    if not matching:
        raise ValueError(f"{value}: no profile of that name")
    its = {one.name for it in matching for one in known.profiles()[it].deployments}
    if deployment and deployment not in its:
        raise ValueError(f"{value}: the profile has no such deployment")


def _check_file(word: str) -> None:
    named = word.partition("::")[0].partition("[")[0]
    path = named.rpartition("=")[2]
    if path.startswith(_OURS) and ELLIPSIS not in path and not (CHECKOUT / path).exists():
        raise ValueError(f"{path}: not in the checkout")


def _options(arguments: list[str]) -> list[tuple[str, str]]:
    """Each option with its value, whether written with ``=`` or as the next word."""
    found = []
    for index, word in enumerate(arguments):
        option, equals, value = word.partition("=")
        if re.fullmatch(r"--?[A-Za-z][\w-]*|--", option):
            after = arguments[index + 1] if index + 1 < len(arguments) else ""
            found.append((option, value if equals else after))
    return found


def _check_toml(block: Block, folder: Path) -> None:
    text = block.text.replace("/path/to/checkout", str(CHECKOUT))
    content = tomllib.loads(text)
    shipped = CHECKOUT / "conformance" / "profiles"
    if block.mark.kind == "profile":
        if block.mark.text not in known.profiles():
            raise ValueError(f"{block.mark.text}: no shipped profile of that name")
        text = f'overlay = "{block.mark.text}"\n' + text
    elif "waiver" in content:
        (folder / "waivers.toml").write_text(text, encoding="utf-8")
        load_waivers(folder / "waivers.toml")
        return
    elif not {"overlay", "extends"} & content.keys():
        return
    # In a checkout, one or two folders deep, as a reader's folder is.
    own = folder / "examples" / "profiles"
    own.mkdir(parents=True)
    for above in (folder, folder / "examples"):
        (above / "conformance").symlink_to(CHECKOUT / "conformance")
    (own / "profile.toml").write_text(text, encoding="utf-8")
    load_profiles([shipped, own])
