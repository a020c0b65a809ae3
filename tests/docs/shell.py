"""The commands of a block: what somebody would type, and what a page shows them to print."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from tests.docs.blocks import Block

_BETWEEN = {"&&", "||", ";", "|", "&", "(", ")", "{", "}"}
_REDIRECT = {">", ">>", "<", ">&", "&>"}
ELLIPSIS = "…"


@dataclass(frozen=True)
class Command:
    """One command line with what is shown below it; ``shown`` is None where nothing is."""

    text: str
    shown: str | None = None


def commands(block: Block) -> list[Command]:
    """The commands of a block.

    A ``console`` block has lines that begin with ``$``, each followed by what it prints; a ``bash``
    block has commands only. A line that ends in a backslash goes on in the next one.
    """
    if block.language == "bash":
        return [Command(it) for it in _joined(block.text.splitlines()) if not _is_remark(it)]
    if block.language != "console":
        return []
    found: list[Command] = []
    lines = block.text.splitlines()
    if lines and not lines[0].startswith("$ "):
        raise block.problem("a console block begins with a line '$ command'")
    while lines:
        typed = [lines.pop(0).removeprefix("$ ")]
        while typed[-1].endswith("\\") and lines:
            typed.append(lines.pop(0).removeprefix("> "))
        shown = []
        while lines and not lines[0].startswith("$ "):
            shown.append(lines.pop(0))
        found.append(Command("\n".join(typed), "\n".join(shown) if shown else None))
    return found


def words(command: str) -> list[list[str]]:
    """The simple commands of a command line, each as its words, without redirections.

    Raises:
        ValueError: a quotation that does not end.
    """
    lexer = shlex.shlex(command.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if skip:
            skip = False
        elif word in _BETWEEN:
            found.append([])
        elif word in _REDIRECT:
            skip = True
            # The number of a stream, as in 2>&1.
            if found[-1] and found[-1][-1] in {"1", "2"}:
                found[-1].pop()
        else:
            found[-1].append(word)
    return [it for it in found if it]


def _joined(lines: list[str]) -> list[str]:
    found: list[str] = []
    goes_on = False
    for line in lines:
        if goes_on:
            found[-1] += "\n" + line
        else:
            found.append(line)
        goes_on = line.endswith("\\")
    return found


def _is_remark(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")
