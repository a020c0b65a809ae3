"""Run a page: its files are written and its commands typed, in order, one place after another."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from tests.docs.blocks import Block
from tests.docs.places import PLACES
from tests.docs.shell import ELLIPSIS, commands

# Kept between two commands of a page, as a terminal keeps them: where one is, and what is exported.
_SHELL = """\
set -o pipefail
. "$1"
cd "$(cat "$2")"
{command}
code=$?
export -p > "$1"
pwd > "$2"
exit $code
"""


@dataclass
class Terminal:
    """A folder in which commands are typed one after the other.

    Attributes:
        said: what the last command printed, both streams together.
    """

    folder: Path
    environment: dict[str, str]
    seconds: float
    said: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._exports = Path(self.environment["HOME"]) / "exports"
        self._exports.write_text("")
        self._where = Path(self.environment["HOME"]) / "where"
        self._where.write_text(str(self.folder))

    def type(self, command: str) -> int:
        """Run a command and return its exit code."""
        script = _SHELL.replace("{command}", command)
        argv = ["bash", "-c", script, "bash", str(self._exports), str(self._where)]
        done = subprocess.run(
            argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=self.seconds, check=False,
        )  # fmt: skip
        self.said = done.stdout
        return done.returncode


def run(
    blocks: Sequence[Block], folder: Path, levels: Collection[str] = ("",), seconds: float = 60
) -> int:
    """Run the blocks of a page that these levels ask for, and compare what they print.

    Args:
        blocks: the page's blocks.
        folder: an empty folder; every place becomes a folder in it.
        levels: of ``run`` marks; others are passed over.
        seconds: how long one command may take.

    Returns:
        How many commands were run.

    Raises:
        PageProblem: another exit code or another output than the page says.
    """
    return sum(
        _run_place(list(its), folder, name, number, levels, seconds)
        for (name, number), its in groupby(blocks, key=lambda it: it.place)
    )


def _run_place(
    blocks: Sequence[Block],
    folder: Path,
    name: str,
    number: int,
    levels: Collection[str],
    seconds: float,
) -> int:
    if name not in PLACES:
        raise blocks[0].problem(f"no place {name!r}; there are {', '.join(PLACES)}")
    if not any(it.mark.kind == "run" and it.mark.level in levels for it in blocks):
        return 0
    where = folder / f"place-{number}"
    terminal = Terminal(where, PLACES[name](where, folder / f"home-{number}"), seconds)
    count = 0
    fresh = False
    for block in blocks:
        if block.mark.kind == "file":
            path = where / block.mark.text
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text.replace("/path/to/checkout", str(where)), encoding="utf-8")
        elif block.mark.kind == "run":
            fresh = block.mark.level in levels
            if fresh:
                count += _run_block(block, terminal)
        elif block.mark.kind == "output" and fresh:
            _compare(block, block.text, terminal.said)
        else:
            fresh = False
    return count


def _run_block(block: Block, terminal: Terminal) -> int:
    typed = commands(block)
    if not typed:
        raise block.problem("'run', but there is no command in it")
    for index, command in enumerate(typed):
        code = terminal.type(command.text)
        wanted = block.mark.code if index == len(typed) - 1 else 0
        if code != wanted:
            raise block.problem(
                f"{command.text}\nexit code {code}, expected {wanted}; it printed:\n{terminal.said}"
            )
        if command.shown is not None:
            _compare(block, command.shown, terminal.said)
    return len(typed)


def _compare(block: Block, shown: str, seen: str) -> None:
    if not matches(shown, seen):
        raise block.problem(f"the page shows\n{shown}\nbut it prints\n{seen}")


def matches(shown: str, seen: str) -> bool:
    """Whether an output is what a page shows; ``…`` stands for anything, alone for any lines."""
    return re.fullmatch("".join(_pattern(_lines(shown))), "".join(_lines(seen))) is not None


def _lines(text: str) -> list[str]:
    return [f"{line.rstrip()}\n" for line in text.strip("\n").splitlines()]


def _pattern(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if line.strip() == ELLIPSIS:
            yield r"(?:.*\n)*?"
        else:
            yield ".*?".join(re.escape(part) for part in line.split(ELLIPSIS))
