"""Reads ``npu-smi info -t topo``, and makes one list of NPUs of all three outputs (pure)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_qwenvl.devices.npu import Npu, generation_of
from pytest_qwenvl.devices.npu_smi import (
    Chip,
    Reading,
    UnreadableOutput,
    parse_info,
    parse_map,
)

_LABEL = re.compile(r"(NPU|Phy-ID)([0-9]{1,4})")
_COLUMN = re.compile(r"(Phy-ID|[A-Za-z][A-Za-z0-9]*_?)[0-9]+")
_AFFINITY = "CPU Affinity"
_NOT_OFFERED = re.compile(r"not support", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Where an NPU sits.

    Attributes:
        interconnect: kind of the link to each other NPU, by its logic id.
        cpu_affinity: CPUs near it; empty where the host does not say.
    """

    interconnect: Mapping[int, str] = field(default_factory=dict, hash=False)
    cpu_affinity: tuple[int, ...] = ()


def parse_npus(info: str, mapping: str, topology: str) -> tuple[Npu, ...]:
    """The NPUs of a host, by logic id.

    Args:
        info: what ``npu-smi info`` printed.
        mapping: what ``npu-smi info -m`` printed.
        topology: what ``npu-smi info -t topo`` printed. A host whose driver does not offer it
            says so; its NPUs then have neither interconnect nor affinity.

    Raises:
        UnreadableOutput: an output cannot be read, or two of them speak of different chips.
    """
    with _reading(mapping, "info", "-m"):
        chips = parse_map(mapping)
    with _reading(info, "info"):
        readings = {_place_of(it): it for it in parse_info(info)}
    # A 950's first table names no chip: it has one a card.
    by_card = all(die is None for _, die in readings)
    expected = {(chip.card, None if by_card else chip.die): chip for chip in chips}
    if set(expected) != set(readings) or len(expected) != len(chips):
        raise UnreadableOutput(
            f"npu-smi info lists {_named(readings)}, npu-smi info -m lists {_named(expected)}"
        )
    with _reading(topology, "info", "-t", "topo"):
        places = parse_topology(topology, chips)
    return tuple(
        _npu(chip, readings[key], places[chip.logic_id])
        for key, chip in sorted(expected.items(), key=lambda item: item[1].logic_id)
    )


@contextlib.contextmanager
def _reading(text: str, *question: str) -> Iterator[None]:
    """Say whose output it was that could not be read."""
    try:
        if text.strip() and not text.endswith("\n"):
            raise UnreadableOutput(f"cut off after {text.splitlines()[-1]!r}")
        yield
    except UnreadableOutput as problem:
        problem.question = question
        raise


def parse_topology(text: str, chips: Sequence[Chip]) -> dict[int, Place]:
    """Where each chip sits, by logic id.

    Rows and columns are named after the logic id, the physical id or, on cards of one chip, the
    card, depending on the version; other columns are network cards.

    Raises:
        UnreadableOutput: no matrix, or one that is not of these chips.
    """
    lines = [" ".join(line.split()) for line in text.splitlines()]
    start = next((at for at, line in enumerate(lines) if _is_header(line)), None)
    if start is None:
        if not chips or _NOT_OFFERED.search(text):
            return {chip.logic_id: Place() for chip in chips}
        raise UnreadableOutput("no line names NPUs as columns")
    has_affinity = lines[start].endswith(_AFFINITY)
    columns = lines[start].removesuffix(_AFFINITY).split()
    if not all(map(_COLUMN.fullmatch, columns)):
        raise UnreadableOutput(f"columns that are not known: {lines[start]!r}")
    rows: dict[str, list[str]] = {}
    for line in lines[start + 1 :]:
        label, *cells = line.split() or [""]
        if label.startswith("Legend"):
            break
        if not _LABEL.fullmatch(label):
            continue
        fits = len(cells) > len(columns) if has_affinity else len(cells) == len(columns)
        if label in rows or not fits:
            raise UnreadableOutput(f"a row that does not fit {len(columns)} columns: {line!r}")
        rows[label] = cells
    logic_ids = _logic_ids([column for column in columns if _LABEL.fullmatch(column)], chips)
    if set(rows) != set(logic_ids):
        raise UnreadableOutput(f"columns {', '.join(logic_ids)}, but rows {', '.join(rows)}")
    links = {
        label: {column: cells[at] for at, column in enumerate(columns) if column in logic_ids}
        for label, cells in rows.items()
    }
    for label, row in links.items():
        for column, kind in row.items():
            if (kind == "X") != (label == column) or kind != links[column][label]:
                raise UnreadableOutput(f"{kind!r} between {label} and {column} cannot be")
    return {
        logic_id: Place(
            {logic_ids[column]: kind for column, kind in links[label].items() if column != label},
            _cpus(rows[label][len(columns) :]),
        )
        for label, logic_id in logic_ids.items()
    }


def _is_header(line: str) -> bool:
    words = line.split()
    return bool(words) and _LABEL.fullmatch(words[0]) is not None and "X" not in words


def _logic_ids(labels: Sequence[str], chips: Sequence[Chip]) -> dict[str, int]:
    """Which chip each label of the matrix means."""
    numbers = set(map(_label_number, labels))
    logic = {chip.logic_id: chip.logic_id for chip in chips}
    physical = {chip.physical_id: chip.logic_id for chip in chips if chip.physical_id is not None}
    card = {chip.card: chip.logic_id for chip in chips}
    by_physical = len(physical) == len(chips) and labels[0].startswith("Phy-ID")
    for meant in [physical] if by_physical else [logic, physical, card]:
        if set(meant) == numbers and len(meant) == len(chips) == len(labels):
            return {label: meant[_label_number(label)] for label in labels}
    raise UnreadableOutput(
        f"columns {', '.join(labels)} are not the chips with logic ids "
        f"{', '.join(str(chip.logic_id) for chip in chips)}"
    )


def _label_number(label: str) -> int:
    return int(label.removeprefix("NPU").removeprefix("Phy-ID"))


def _cpus(cells: Sequence[str]) -> tuple[int, ...]:
    text = "".join(cells)
    if text in {"", "-", "NA", "N/A"}:
        return ()
    cpus: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UnreadableOutput(f"{text!r} is no list of CPUs")
        cpus.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(cpus))


def _npu(chip: Chip, reading: Reading, place: Place) -> Npu:
    generation = generation_of(reading.name)
    if generation is None:
        raise UnreadableOutput(
            f"{reading.name!r} is no known NPU; known are 910B (a2), 910C (a3), 310P and 950 (a5)"
        )
    return Npu(
        logic_id=chip.logic_id,
        card=chip.card,
        die=chip.die,
        name=reading.name,
        generation=generation,
        memory_used_mib=reading.memory_used_mib,
        memory_total_mib=reading.memory_total_mib,
        health=reading.health,
        processes=reading.processes,
        cpu_affinity=place.cpu_affinity,
        interconnect=place.interconnect,
    )


def _place_of(reading: Reading) -> tuple[int, int | None]:
    return reading.card, reading.die


def _named(keys: Mapping[tuple[int, int | None], object]) -> str:
    names = [str(card) if die is None else f"{card}/{die}" for card, die in sorted(keys, key=str)]
    return ", ".join(names) or "nothing"
