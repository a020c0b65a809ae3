"""Reads the tables of ``npu-smi info`` and ``npu-smi info -m`` (pure).

The tables are made for people: columns differ by generation and version, widths by content, and
numbers are not always numbers. Whatever does not fit is refused as a whole, since half an
inventory would hand out a device that somebody uses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_qwenvl.devices.npu import NpuProcess
from pytest_qwenvl.errors import QwenVLError

DCMI_FAILURE = re.compile(r"dcmi\b.*\bfail|Container ID verify failed|\bret is -\d+", re.IGNORECASE)

_PAIR = re.compile(r"(\d+|-|NA)\s*/\s*(\d+|-|NA)")
# Power, temperature and huge pages: not kept, but no row of a device is without them.
_SENSORS = re.compile(rf"(?:(?:[\d.]+|NA|-)\s+){{2}}{_PAIR.pattern}")
_IDLE = re.compile(r"No running processes found in NPU (\d{1,9})")
_UNKNOWN = {"-", "NA", "N/A"}
_PROCESS_COLUMNS = ["Process id", "Process name", "Process memory(MB)"]
_IN_CONTAINER = "Process id in container"
_MAP_COLUMNS = re.compile(
    r"NPU ID|Slot ID|Chip Logic ID|Chip Phy-ID|Chip ID|Chip Name", re.IGNORECASE
)


class UnreadableOutput(QwenVLError):
    """An output of npu-smi is not what any known version prints; the message says where.

    Attributes:
        question: the arguments whose output it is; empty when outputs contradict each other.
    """

    question: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chip:
    """A row of ``npu-smi info -m`` that is a compute chip.

    Attributes:
        card: NPU ID.
        die: Chip ID.
        logic_id: Chip Logic ID; the NPU ID where there is no such column (950).
        physical_id: Chip Phy-ID, where there is such a column.
    """

    card: int
    die: int
    logic_id: int
    physical_id: int | None


@dataclass(frozen=True)
class Reading:
    """The two rows that ``npu-smi info`` prints for a chip, and its processes.

    Attributes:
        die: None on a 950, whose rows name no chip.
    """

    card: int
    die: int | None
    name: str
    health: str
    memory_used_mib: int | None
    memory_total_mib: int | None
    processes: tuple[NpuProcess, ...] = ()


@dataclass(frozen=True)
class _Layout:
    """Which columns the device table has."""

    apart: bool  # the card's number and name in a column each (950)
    numbers: int  # how many numbers a chip's row begins with
    usages: tuple[str, ...]  # pairs in a chip's row, in their order

    @property
    def memory(self) -> int:
        """Which pair is the device's own memory: HBM, or DDR where there is no HBM."""
        return self.usages.index("HBM" if "HBM" in self.usages else "Memory")


def parse_map(text: str) -> tuple[Chip, ...]:
    """The compute chips that ``npu-smi info -m`` lists, by logic id.

    Raises:
        UnreadableOutput: no table, a row that does not fit it, or an id that two chips share.
    """
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    start = next((at for at, line in enumerate(lines) if line.startswith("NPU ID")), None)
    if start is None:
        raise UnreadableOutput("no line begins with the column NPU ID")
    columns: list[str] = [title.lower() for title in _MAP_COLUMNS.findall(lines[start])]
    left = _MAP_COLUMNS.sub("", lines[start]).strip()
    wanted = {"npu id", "chip id", "chip name"}
    fits = wanted <= set(columns) and len(set(columns)) == len(columns)
    if left or not fits or columns[-1] != "chip name":
        raise UnreadableOutput(f"columns that are not known: {lines[start]!r}")
    chips: list[Chip] = []
    for line in lines[start + 1 :]:
        cells = line.split(maxsplit=len(columns) - 1)
        if len(cells) != len(columns):
            raise UnreadableOutput(f"a row without {len(columns)} columns: {line!r}")
        row: dict[str, str] = dict(zip(columns, cells, strict=True))
        logic = row.get("chip logic id", row["npu id"])
        # Each card has a controller beside its chips; it has no logic id.
        if row["chip name"].lower() == "mcu" or logic in _UNKNOWN:
            continue
        if "chip logic id" not in row and "950" not in row["chip name"]:
            raise UnreadableOutput(f"no column Chip Logic ID for {row['chip name']!r}")
        physical: str = row.get("chip phy-id", "-")
        chips.append(
            Chip(
                card=_number(row["npu id"], line),
                die=_number(row["chip id"], line),
                logic_id=_number(logic, line),
                physical_id=None if physical in _UNKNOWN else _number(physical, line),
            )
        )
    _once([f"logic id {chip.logic_id}" for chip in chips])
    _once([f"chip {chip.die} of NPU {chip.card}" for chip in chips])
    return tuple(sorted(chips, key=lambda chip: chip.logic_id))


def parse_info(text: str) -> tuple[Reading, ...]:
    """The chips that ``npu-smi info`` lists, in its order, with the processes that hold them.

    Raises:
        UnreadableOutput: a table is missing, cut off or names a chip twice; a row that does not
            fit; a card of which no word is said in the process table.
    """
    rows = _rows(text)
    header = next((at for at, row in enumerate(rows) if _apart(row) is not None), None)
    if header is None:
        raise UnreadableOutput("no row has the columns NPU, Name and Health")
    end = next((at for at, row in enumerate(rows) if _is_process_header(row)), None)
    if end is None or end < header + 2:
        raise UnreadableOutput("no table of processes follows the table of devices")
    layout = _layout(rows[header], rows[header + 1])
    body = rows[header + 2 : end]
    if len(body) % 2:
        raise UnreadableOutput("a device without its second row")
    devices = [
        _device(upper, lower, layout) for upper, lower in zip(body[::2], body[1::2], strict=True)
    ]
    _once([f"chip {it.die or 0} of NPU {it.card}" for it in devices])
    processes = _processes(rows[end], rows[end + 1 :], devices)
    return tuple(
        Reading(
            it.card,
            it.die,
            it.name,
            it.health,
            it.memory_used_mib,
            it.memory_total_mib,
            tuple(processes[it.card, it.die].values()),
        )
        for it in devices
    )


def _rows(text: str) -> list[list[str]]:
    """The cells of every line that belongs to a table."""
    rows: list[list[str]] = []
    for line in (raw.strip() for raw in text.splitlines()):
        if line.startswith("|"):
            if not line.endswith("|") or len(line) < 2:
                raise UnreadableOutput(f"a row that is cut off: {line!r}")
            rows.append([" ".join(cell.split()) for cell in line[1:-1].split("|")])
        elif DCMI_FAILURE.search(line):
            raise UnreadableOutput(f"between the rows it says {line!r}")
    return rows


def _apart(row: Sequence[str]) -> bool | None:
    """Whether this header has number and name in a column each; None when it is no header."""
    if len(row) == 3 and row[0].split() == ["NPU", "Name"] and row[1] == "Health":
        return False
    if len(row) == 4 and list(row[:3]) == ["NPU ID", "Name", "Health"]:
        return True
    return None


def _is_process_header(row: Sequence[str]) -> bool:
    return row[0].startswith("NPU") and "Process id" in row


def _layout(upper: Sequence[str], lower: Sequence[str]) -> _Layout:
    apart = bool(_apart(upper))
    usages = tuple(re.findall(r"(\w+)-Usage\(MB\)", lower[-1]))
    known = [[]] if apart else [["Chip"], ["Chip", "Phy-ID"], ["Chip", "Device"]]
    titles = " ".join(lower[:-2]).split()
    fits = len(lower) == len(upper) and lower[-2] == "Bus-Id" and "Memory" in usages
    if not fits or titles not in known:
        raise UnreadableOutput(f"a second header that is not known: {' | '.join(lower)!r}")
    return _Layout(apart, len(titles), usages)


def _device(upper: Sequence[str], lower: Sequence[str], layout: _Layout) -> Reading:
    shown = f"{' | '.join(upper)!r} and {' | '.join(lower)!r}"
    width = 4 if layout.apart else 3
    if len(upper) != width or len(lower) != width:
        raise UnreadableOutput(f"rows of a device that do not fit the header: {shown}")
    number, _, name = " ".join(upper[:-2]).partition(" ")
    numbers = " ".join(lower[:-2]).split()
    pairs = _PAIR.findall(lower[-1])
    fits = (
        _SENSORS.fullmatch(upper[-1])
        and re.fullmatch(r"[A-Za-z]+", upper[-2])
        and re.fullmatch(r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[0-9A-Fa-f.]+|NA", lower[-2])
        and name.strip()
        and len(numbers) == layout.numbers
        and re.fullmatch(rf"(\d+|NA|-)( {_PAIR.pattern}){{{len(layout.usages)}}}", lower[-1])
    )
    if not fits:
        raise UnreadableOutput(f"rows that are none of a device: {shown}")
    used, total = (
        None if value in _UNKNOWN else _number(value, shown) for value in pairs[layout.memory]
    )
    if used is not None and total is not None and used > total:
        raise UnreadableOutput(f"more memory used than there is: {shown}")
    return Reading(
        card=_number(number, shown),
        die=_number(numbers[0], shown) if numbers else None,
        name=name.strip(),
        health=upper[-2],
        memory_used_mib=used,
        memory_total_mib=total,
    )


def _processes(
    header: Sequence[str], rows: Sequence[Sequence[str]], devices: Sequence[Reading]
) -> dict[tuple[int, int | None], dict[int, NpuProcess]]:
    """Processes of each chip, by pid."""
    titles = list(header[1:])
    if titles not in (_PROCESS_COLUMNS, [*_PROCESS_COLUMNS, _IN_CONTAINER]):
        raise UnreadableOutput(f"a header of processes that is not known: {' | '.join(header)!r}")
    found: dict[tuple[int, int | None], dict[int, NpuProcess]] = {
        (it.card, it.die): {} for it in devices
    }
    idle: set[int] = set()
    for row in rows:
        shown = " | ".join(row)
        if len(row) == 1 and (match := _IDLE.fullmatch(row[0])):
            idle.add(int(match[1]))
            continue
        where = [_number(part, shown) for part in row[0].split()]
        key = (where[0] if where else -1, where[1] if len(where) == 2 else None)
        fits = len(row) == len(header) and len(where) in (1, 2) and row[2]
        if not fits or key not in found:
            raise UnreadableOutput(f"a row that is no process of a listed chip: {shown!r}")
        inside = row[4] if len(row) == 5 else "NA"
        process = NpuProcess(
            pid=_number(row[1], shown),
            name=row[2],
            memory_mib=_number(row[3], shown),
            pid_in_container=None if inside in _UNKNOWN else _number(inside, shown),
        )
        if found[key].setdefault(process.pid, process) != process:
            raise UnreadableOutput(f"a process that holds one chip twice: {shown!r}")
    busy = {card for (card, _), processes in found.items() if processes}
    cards = {card for card, _ in found}
    if idle & busy or idle - cards:
        wrong = ", ".join(map(str, sorted((idle & busy) | (idle - cards))))
        raise UnreadableOutput(f"the table of processes contradicts itself on NPU {wrong}")
    if cards - idle - busy:
        # An output that ends early would otherwise pass for a host that nobody uses.
        missing = ", ".join(map(str, sorted(cards - idle - busy)))
        raise UnreadableOutput(f"the table of processes says nothing of NPU {missing}")
    return found


def _number(text: str, row: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UnreadableOutput(f"{text!r} where a number belongs: {row}")
    return int(text)


def _once(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UnreadableOutput(f"{name} is listed twice")
