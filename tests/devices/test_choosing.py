from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Collection, Sequence

import pytest

from fixtures.hosts.playing import HOSTS
from pytest_qwenvl.devices.choosing import choose, devices_held
from pytest_qwenvl.devices.npu import Npu
from pytest_qwenvl.devices.npu_topology import parse_npus


def npus_of(recording: str) -> tuple[Npu, ...]:
    texts = [
        (HOSTS / recording / f"{name}.txt").read_text(encoding="utf-8")
        for name in ("info", "info-m", "info-t-topo")
    ]
    return parse_npus(*texts)


A2 = npus_of("a2-8x910b3")  # NUMA nodes of two, all linked
A3 = npus_of("a3-16x910c")  # cards of two dies, a NUMA node each
DUO = npus_of("310p-4")  # cards of two chips, a NUMA node each, no direct links
# Two boards of four, linked within each; all on one NUMA node.
BOARDS = tuple(
    dataclasses.replace(
        npu,
        cpu_affinity=(0,),
        interconnect={
            other: "HCCS" if other // 4 == npu.logic_id // 4 else "SYS"
            for other in range(8)
            if other != npu.logic_id
        },
    )
    for npu in A2
)


def chosen(count: int, npus: Sequence[Npu], free: Collection[int] | None = None) -> tuple[int, ...]:
    choice = choose(count, range(len(npus)) if free is None else free, npus, len(npus))
    assert choice is not None
    assert choice.held == choice.devices
    return choice.devices


@pytest.mark.parametrize(
    ("count", "free", "expected"),
    [
        # Both dies of a card, though a single die would come first.
        (2, [1, 2, 3], (2, 3)),
        (2, [1, 3, 4, 5, 6], (4, 5)),
        # A card that is broken up already, rather than another one.
        (1, [0, 1, 2, 3, 5], (5,)),
        (3, [0, 1, 2, 3, 4, 5, 7], (0, 1, 7)),
        (1, range(16), (0,)),
        (4, range(16), (0, 1, 2, 3)),
        (16, range(16), tuple(range(16))),
        # Nothing is left but dies of different cards.
        (2, [0, 3, 4], (0, 3)),
    ],
)
def test_dies_of_one_card(count, free, expected):
    assert chosen(count, A3, free) == expected


@pytest.mark.parametrize(
    ("count", "free", "expected"),
    [
        # Never across a boundary that can be avoided.
        (2, [1, 2, 3], (2, 3)),
        (2, [0, 2, 4, 6, 7], (6, 7)),
        (4, [0, 1, 2, 4, 6, 7], (0, 1, 6, 7)),
        # A node with one left, so that two who come later find two.
        (1, [0, 1, 2, 3, 5, 6, 7], (5,)),
        (3, [0, 1, 3, 4, 5], (0, 1, 3)),
        # It cannot be avoided.
        (2, [0, 2, 4], (0, 2)),
    ],
)
def test_numa_nodes(count, free, expected):
    assert chosen(count, A2, free) == expected


def test_neighbours_over_direct_links():
    assert chosen(2, BOARDS, [3, 4, 5]) == (4, 5)
    assert chosen(4, BOARDS, [0, 1, 2, 4, 5, 6, 7]) == (4, 5, 6, 7)
    assert chosen(4, BOARDS, [0, 1, 4, 5]) == (0, 1, 4, 5)


def test_the_chips_of_a_card_without_direct_links():
    assert chosen(2, DUO, [1, 2, 3]) == (2, 3)
    assert chosen(1, DUO, [0, 2, 3]) == (0,)


def test_devices_of_which_nothing_is_known():
    choice = choose(2, [5, 1, 3], (), 8)
    assert choice is not None
    assert choice.devices == choice.held == (1, 3)


def test_too_few():
    assert choose(3, [0, 1], A3, 16) is None
    assert choose(1, [], (), 4) is None


@pytest.mark.parametrize(
    ("count", "fit", "devices", "held"),
    [
        (1, range(16), (0,), (0, 1)),
        (2, range(16), (0, 1), (0, 1)),
        (3, range(16), (0, 1, 2), (0, 1, 2, 3)),
        (1, [0, 3, 6, 7], (6,), (6, 7)),
    ],
)
def test_whole_cards(count, fit, devices, held):
    choice = choose(count, fit, A3, 16, "card")
    assert choice is not None
    assert (choice.devices, choice.held) == (devices, held)


def test_no_whole_card():
    assert choose(1, [0, 2, 5], A3, 16, "card") is None


def test_a_sick_die_may_stay_empty_beside_a_sound_one():
    choice = choose(1, [0], A3, 16, "card", quiet=[1])
    assert choice is not None
    assert (choice.devices, choice.held) == ((0,), (0, 1))


def test_the_whole_host():
    choice = choose(2, range(16), A3, 16, "host")
    assert choice is not None
    assert (choice.devices, choice.held) == ((0, 1), tuple(range(16)))
    assert choose(2, range(15), A3, 16, "host") is None
    sick = choose(2, range(15), A3, 16, "host", quiet=[15])
    assert sick is not None
    assert sick.held == tuple(range(16))


@pytest.mark.parametrize(
    ("exclusive", "npus", "held"),
    [("devices", A3, 1), ("card", A3, 2), ("card", A2, 1), ("host", A3, 16), ("host", A2, 8)],
)
def test_how_many_a_request_holds(exclusive, npus, held):
    assert devices_held(1, exclusive, npus, len(npus)) == held


def test_how_many_a_request_for_too_many_holds():
    assert devices_held(9, "card", A2, 8) == 9


@pytest.mark.parametrize("npus", [A2, A3, DUO, BOARDS])
def test_no_better_choice_exists(npus):
    """Against every subset: first NUMA nodes, then linked groups, then cards broken up."""

    def cost(devices: Collection[int], free: Collection[int]) -> tuple[int, int, int]:
        nodes = {npus[at].cpu_affinity for at in devices}
        links = {
            frozenset(
                other.logic_id
                for other in npus
                if other.card == npus[at].card
                or npus[at].interconnect.get(other.logic_id) in {"HCCS", "HCCS_SW"}
                or other.logic_id == npus[at].logic_id
            )
            for at in devices
        }
        cards = {npus[at].card for at in devices}
        left = {npus[at].card for at in free if at not in devices}
        return len(nodes), len(links), len(cards & left)

    choose_from = random.Random(7)
    for _ in range(60):
        free = sorted(
            choose_from.sample(range(len(npus)), choose_from.randint(1, min(9, len(npus))))
        )
        count = choose_from.randint(1, len(free))
        best = min(cost(its, free) for its in itertools.combinations(free, count))
        assert cost(chosen(count, npus, free), free) == best
