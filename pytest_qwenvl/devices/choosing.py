"""Which of the free devices a request is given (pure).

In this order: as few NUMA nodes as will do, as few groups of directly linked NPUs, as few cards
broken up, both dies of a card before dies of two; then what leaves the largest pieces for others.
"""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pytest_qwenvl.devices.npu import Npu

Exclusive = Literal["devices", "card", "host"]
"""What nobody else may use meanwhile: the devices alone, their whole cards, or all of the host."""

# Direct links between chips, as ``npu-smi info -t topo`` names them. PIX, PXB, PHB and SYS lead
# over PCIe, and NA says nothing.
_DIRECT_LINKS = frozenset({"HCCS", "HCCS_SW", "SIO", "UB"})

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Choice:
    """What a request gets, as positions in the inventory.

    Attributes:
        devices: those to run on, in ascending order.
        held: those, and what must stay empty beside them.
    """

    devices: tuple[int, ...]
    held: tuple[int, ...]


def choose(
    count: int,
    fit: Collection[int],
    npus: Sequence[Npu],
    total: int,
    exclusive: Exclusive = "devices",
    quiet: Collection[int] | None = None,
) -> Choice | None:
    """The best ``count`` of the devices that may be used; None when there are too few.

    Args:
        fit: positions of devices that are free and fit for use.
        npus: what is known of each device of the inventory; empty for virtual devices and where
            only device nodes were counted, which are then as good as each other.
        total: how many devices the inventory has.
        exclusive: what else must be free.
        quiet: positions of devices that nobody uses, among them such as are unfit for use
            themselves; only they may stay empty beside the chosen ones. ``fit`` when None.
    """
    quiet = set(fit) if quiet is None else set(quiet) | set(fit)
    everything = range(total)
    if exclusive == "host" and not quiet.issuperset(everything):
        return None
    cards = _grouped(everything, lambda at: npus[at].card if npus else at)
    usable = sorted(fit)
    if exclusive == "card":
        whole = {at for its in cards.values() if quiet.issuperset(its) for at in its}
        usable = [at for at in usable if at in whole]
    if count > len(usable):
        return None
    devices = _best(count, usable, npus) if npus else tuple(usable[:count])
    if exclusive == "host":
        return Choice(devices, tuple(everything))
    if exclusive == "card":
        held = {at for its in cards.values() if not set(its).isdisjoint(devices) for at in its}
        return Choice(devices, tuple(sorted(held)))
    return Choice(devices, devices)


def devices_held(count: int, exclusive: Exclusive, npus: Sequence[Npu], total: int) -> int:
    """How many devices a request holds at once where all are free; ``count`` or more.

    Where there are fewer than ``count``, the answer is ``count``.
    """
    if exclusive == "devices":
        return count
    choice = choose(count, range(total), npus, total, exclusive)
    return count if choice is None else len(choice.held)


def _best(count: int, usable: Sequence[int], npus: Sequence[Npu]) -> tuple[int, ...]:
    node = [hash(npu.cpu_affinity) for npu in npus]
    linked = _linked_groups(tuple(npus))
    on_node = collections.Counter(node[at] for at in usable)
    by_node = _grouped(usable, node.__getitem__)
    cards = _grouped(usable, lambda at: npus[at].card)
    # No choice can be better than this one.
    ideal = (_how_many(by_node, count), 1, 0, _how_many(cards, count), 0)
    best: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    for nodes in _fewest(by_node, count):
        for within in _fewest(_grouped(nodes, linked.__getitem__), count):
            devices, broken, touched_cards = _fill(count, within, npus)
            touched = {node[at] for at in devices}
            links = {linked[at] for at in devices}
            left = sum(on_node[one] for one in touched) - count
            cost = (len(touched), len(links), broken, touched_cards, left)
            if best is None or (cost, devices) < best:
                best = (cost, devices)
            if cost == ideal:
                return devices
    assert best is not None, "more were asked for than are usable"
    return best[1]


def _fill(
    count: int, within: Sequence[int], npus: Sequence[Npu]
) -> tuple[tuple[int, ...], int, int]:
    """``count`` of these devices, how many cards that breaks up, and how many it touches."""
    by_card = _grouped(within, lambda at: npus[at].card)
    # Largest first, so that dies of one card stay together; of equals, the first.
    cards = sorted(by_card.values(), key=lambda its: (-len(its), its))
    chosen: list[int] = []
    touched = 0
    rest = []
    for card in cards:
        if len(card) <= count - len(chosen):
            chosen += card
            touched += 1
        else:
            rest.append(card)
    missing = count - len(chosen)
    if not missing:
        return tuple(sorted(chosen)), 0, touched
    # Each that is left over is larger than what is missing: the smallest wastes least.
    return tuple(sorted(chosen + min(rest, key=len)[:missing])), 1, touched + 1


def _fewest(groups: Mapping[_Key, Sequence[int]], count: int) -> Iterator[list[int]]:
    """The devices of each way to have ``count`` of them from as few groups as will do."""
    needed = _how_many(groups, count)
    for chosen in itertools.combinations(groups.values(), needed):
        if sum(map(len, chosen)) >= count:
            yield sorted(itertools.chain.from_iterable(chosen))


def _how_many(groups: Mapping[_Key, Sequence[int]], count: int) -> int:
    """Of how many groups ``count`` devices have to be, at least."""
    sizes = itertools.accumulate(sorted(map(len, groups.values()), reverse=True))
    return next(number for number, size in enumerate(sizes, 1) if size >= count)


@functools.lru_cache(maxsize=8)
def _linked_groups(npus: tuple[Npu, ...]) -> list[int]:
    """For each NPU a number that it shares with those it can reach over direct links.

    The dies of a card count as linked whatever the table calls it. Where a host tells no links at
    all, there is no reason to tell its NPUs apart.
    """
    if not any(npu.interconnect for npu in npus):
        return [0] * len(npus)
    group = list(range(len(npus)))
    for one, other in itertools.combinations(range(len(npus)), 2):
        a, b = npus[one], npus[other]
        if a.card == b.card or a.interconnect.get(b.logic_id) in _DIRECT_LINKS:
            joined, left = group[one], group[other]
            if joined != left:
                group = [joined if number == left else number for number in group]
    return group


def _grouped(positions: Iterable[int], key: Callable[[int], _Key]) -> dict[_Key, list[int]]:
    groups: dict[_Key, list[int]] = {}
    for at in positions:
        groups.setdefault(key(at), []).append(at)
    return groups
