"""A damaged output gives the right inventory or none, never a wrong one and never a traceback."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from fixtures.hosts.playing import recordings
from pytest_qwenvl.devices.npu import Npu
from pytest_qwenvl.devices.npu_smi import UnreadableOutput
from pytest_qwenvl.devices.npu_topology import parse_npus
from tests.devices.test_recordings import outputs

ROUNDS = 30
NOISE = (
    "",
    "dcmi module initialize failed. ret is -8005",
    "DrvMngGetConsoleLogLevel failed. (g_conLogLevel=3)",
    "| 0 0 | 123 | python | 45 |",
    "| |",
    "||||",
    "0 0 0 Ascend",
    "\x00\udcff\x1b[2J",
    "²³ | ١ | 1_0",
)


def cut(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text))]


def cut_in_front(text: str, chance: random.Random) -> str:
    return text[chance.randrange(len(text)) :]


def drop_a_line(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    return "".join(lines)


def double_a_line(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    return "".join([*lines[: at + 1], *lines[at:]])


def add_noise(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(NOISE) + "\n")
    return "".join(lines)


def join_two_lines(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    lines[at] = lines[at].rstrip("\n")
    return "".join(lines)


def lose_a_word(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    words = re.split(r"(\s+)", lines[at])
    del words[chance.randrange(0, len(words), 2)]
    lines[at] = "".join(words)
    return "".join(lines)


def change_the_spaces(text: str, chance: random.Random) -> str:
    return "".join(f" {char}" if char == " " and chance.random() < 0.3 else char for char in text)


MUTATIONS: Iterable[Callable[[str, random.Random], str]] = (
    cut,
    cut_in_front,
    drop_a_line,
    double_a_line,
    add_noise,
    join_two_lines,
    lose_a_word,
    change_the_spaces,
)


def is_right(found: tuple[Npu, ...], truth: tuple[Npu, ...]) -> bool:
    """Whether everything said is so.

    A row of the table of processes that is lost whole, beside another one of the same card, and
    an interconnect that the host does not tell, leave no trace.
    """
    if len(found) != len(truth):
        return False
    return all(
        replace(it, processes=was.processes) == was and set(it.processes) <= set(was.processes)
        for it, was in zip(found, truth, strict=True)
    )


@pytest.mark.parametrize("damage", MUTATIONS, ids=lambda it: it.__name__)
@pytest.mark.parametrize("host", [host.name for host in recordings()])
def test_damaged_output(host, damage):
    texts = outputs(host)
    truth = parse_npus(*texts)
    chance = random.Random(f"{host} {damage.__name__}")
    read = 0
    for number in range(ROUNDS):
        at = number % len(texts)
        damaged = [damage(text, chance) if at == it else text for it, text in enumerate(texts)]
        try:
            found = parse_npus(*damaged)
        except UnreadableOutput:
            continue
        read += 1
        assert is_right(found, truth), damaged[at]
    # Else the damage would test nothing but refusal.
    if damage is change_the_spaces:
        assert read == ROUNDS
