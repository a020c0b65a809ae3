"""What is known of one NPU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Generation = Literal["a2", "a3", "310p", "a5"]

# How npu-smi names chips, with or without "Ascend" in front. A 910C calls itself plain Ascend910,
# the first 910 never does: that one is 910A, 910ProA or the like.
_NAMES: tuple[tuple[Generation, str], ...] = (
    ("a2", r"(Ascend ?)?910B\w*(-\d)?"),
    ("a3", r"Ascend ?910|(Ascend ?)?910C\w*|(Ascend ?)?910_93\d\d"),
    ("310p", r"(Ascend ?)?310P\w*"),
    ("a5", r"(Ascend ?)?950\w*"),
)


@dataclass(frozen=True)
class NpuProcess:
    """A process that holds memory of an NPU.

    Attributes:
        pid: as the host counts; inside a container the same process has another one.
        name: cut by npu-smi after some 15 characters.
        memory_mib: what it holds of the NPU's memory.
        pid_in_container: its pid inside its container, where npu-smi tells (26.0 and later).
    """

    pid: int
    name: str
    memory_mib: int
    pid_in_container: int | None = None


@dataclass(frozen=True)
class Npu:
    """One NPU: a chip, or one of the two dies of a 910C or 310P card.

    Attributes:
        logic_id: its identity, the number ``ASCEND_RT_VISIBLE_DEVICES`` counts in.
        card: the card it is on (NPU ID); has gaps, and is no identity.
        die: which chip of the card.
        name: of the chip, as npu-smi spells it.
        memory_used_mib: of HBM, or DDR on a 310P; never 0, an idle chip uses 1 to 4 GiB. None
            where npu-smi does not know.
        memory_total_mib: None where npu-smi does not know.
        health: npu-smi's word; only ``OK`` is fit for use.
        processes: what holds it now.
        cpu_affinity: the CPUs near it; empty where the host does not say.
        interconnect: kind of the link to each other NPU (``HCCS``, ``SIO``, ``PIX`` …) by its
            logic id; empty where the host does not say.
    """

    logic_id: int
    card: int
    die: int
    name: str
    generation: Generation
    memory_used_mib: int | None
    memory_total_mib: int | None
    health: str
    processes: tuple[NpuProcess, ...] = ()
    cpu_affinity: tuple[int, ...] = ()
    interconnect: Mapping[int, str] = field(default_factory=dict, hash=False)


def generation_of(name: str) -> Generation | None:
    """The generation a chip of this name belongs to; None for one that is not known."""
    for generation, pattern in _NAMES:
        if re.fullmatch(pattern, name):
            return generation
    return None
