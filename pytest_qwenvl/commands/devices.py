"""``pytest-qwenvl devices``: what devices there are, and who holds which."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.commands.exit_codes import EXIT_CONFORMANT

if TYPE_CHECKING:
    from pytest_qwenvl.devices.inventory import Inventory
    from pytest_qwenvl.devices.locks import LeaseRecord
    from pytest_qwenvl.devices.overview import DeviceState


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of the program."""
    parser = commands.add_parser(
        "devices",
        help="show the devices of this host and who holds which",
        description="Show every device that a run started here could use: its health and memory, "
        "which lease holds it, for what and since when, what other processes use it, and who "
        "waits. Nothing is taken. Exit code: 0, or 2 when the devices cannot be listed.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.add_argument(
        "--backend",
        choices=("auto", "npu", "cpu"),
        default="auto",
        help="as pytest's option: cpu shows the virtual devices of the CPU backend",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_qwenvl.devices.inventory import take_inventory
    from pytest_qwenvl.devices.line import in_line
    from pytest_qwenvl.devices.locks import default_lock_directory
    from pytest_qwenvl.devices.overview import states_of

    inventory = take_inventory(arguments.backend)
    directory = default_lock_directory()
    states = states_of(inventory, directory)
    known = set(inventory.physical)
    waiting = [record for record in in_line(directory) if known.intersection(record.devices)]
    if arguments.json:
        text = json.dumps(
            {
                "backend": inventory.backend,
                "hardware": inventory.hardware,
                "lock_directory": str(directory),
                "devices": [_as_json(state) for state in states],
                "waiting": [record.model_dump(mode="json") for record in waiting],
            },
            indent=2,
        )
    else:
        head = (
            f"{len(states)} devices of the {inventory.backend.upper()} backend "
            f"({inventory.chosen_because}); leases are kept in {directory}"
        )
        text = "\n".join([head, *table(inventory, states), *map(_waits, waiting)])
    sys.stdout.write(f"{text}\n")
    return EXIT_CONFORMANT


def table(inventory: Inventory, states: Sequence[DeviceState]) -> list[str]:
    """The devices as lines of text, a heading first; columns nothing is known of are left out."""
    rows = [("DEVICE", "CARD/DIE", "NPU", "HEALTH", "MEMORY (MiB)", "HELD BY")]
    for state in states:
        npu = state.npu
        facts = ("", "", "", "")
        if npu is not None:
            memory = f"{_known(npu.memory_used_mib)} / {_known(npu.memory_total_mib)}"
            chip = f"{npu.name} ({npu.generation})"
            facts = (f"{npu.card}/{npu.die}", chip, npu.health, memory)
        rows.append((state.name, *facts, _held_by(state)))
    shown = [at for at in range(len(rows[0])) if any(row[at] for row in rows[1:])]
    widths = {at: max(len(row[at]) for row in rows) for at in shown}
    return ["  ".join(row[at].ljust(widths[at]) for at in shown).rstrip() for row in rows]


def _held_by(state: DeviceState) -> str:
    from pytest_qwenvl.devices.fitness import described

    foreign = f"; other processes: {described(state.foreign)}" if state.foreign else ""
    if state.lease is not None:
        text = _who(state.lease)
        if state.lease.quarantined:
            text += f"; quarantined: {state.lease.quarantined}"
        return text + foreign
    if state.state == "asked for":
        return f"being asked for{foreign}"
    if state.unfit:
        return f"nobody, but it {state.unfit}"
    left = f" (left by pid {state.stale.pid}, which is gone)" if state.stale else ""
    return f"free{left}{foreign}"


def _waits(record: LeaseRecord) -> str:
    return f"waiting for {record.count}: {_who(record)}"


def _who(record: LeaseRecord) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.since))
    return f"{record.holder}, pid {record.pid} of {record.user}, since {since}"


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)


def _as_json(state: DeviceState) -> dict[str, Any]:
    npu = state.npu
    return {
        "name": state.name,
        "index": state.index,
        "state": state.state,
        "unfit": state.unfit,
        "npu": None
        if npu is None
        else {
            "card": npu.card,
            "die": npu.die,
            "chip": npu.name,
            "generation": npu.generation,
            "health": npu.health,
            "memory_used_mib": npu.memory_used_mib,
            "memory_total_mib": npu.memory_total_mib,
            "processes": [dataclasses.asdict(process) for process in npu.processes],
        },
        "foreign_pids": [process.pid for process in state.foreign],
        "lease": state.lease.model_dump(mode="json") if state.lease else None,
        "stale": state.stale.model_dump(mode="json") if state.stale else None,
    }
