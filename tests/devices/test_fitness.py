from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_qwenvl.devices.fitness import why_not_back, why_unfit
from pytest_qwenvl.devices.npu import Npu, NpuProcess

IDLE = Npu(
    logic_id=3,
    card=1,
    die=1,
    name="Ascend910",
    generation="a3",
    memory_used_mib=3180,
    memory_total_mib=65536,
    health="OK",
)
ENGINE = NpuProcess(4711, "VLLMEngineCore", 30000)


def npu(**changes: Any) -> Npu:
    return dataclasses.replace(IDLE, **changes)


@pytest.mark.parametrize("used", [2874, 3419, 3584])
def test_an_idle_chip_is_fit(used):
    # Idle chips never use nothing.
    assert why_unfit(npu(memory_used_mib=used), 0.9) is None


@pytest.mark.parametrize(
    ("changes", "reason", "in_use"),
    [
        ({"health": "Warning"}, "has health Warning", False),
        (
            {"processes": (ENGINE,)},
            "is used by pid 4711 (VLLMEngineCore, 30000 MiB)",
            True,
        ),
        (
            {"memory_used_mib": 3585},
            "has 3585 MiB in use by processes that cannot be seen from here (idle: at most 3584)",
            True,
        ),
        (
            {"generation": "310p", "memory_used_mib": 2100, "memory_total_mib": 44280},
            "has 2100 MiB in use by processes that cannot be seen from here (idle: at most 2048)",
            True,
        ),
        (
            {"memory_used_mib": 3400, "memory_total_mib": 32768},
            "has 29368 of 32768 MiB free, and gpu_memory_utilization = 0.9 needs 29491",
            False,
        ),
    ],
)
def test_what_speaks_against_a_chip(changes, reason, in_use):
    unfit = why_unfit(npu(**changes), 0.9)
    assert unfit is not None
    assert (unfit.reason, unfit.in_use) == (reason, in_use)


def test_less_memory_is_enough_for_less_utilization():
    small = npu(memory_used_mib=3400, memory_total_mib=32768)
    assert why_unfit(small, 0.89) is None
    assert why_unfit(small) is None


def test_who_uses_it_matters_more_than_its_health():
    unfit = why_unfit(npu(health="Critical", processes=(ENGINE,)))
    assert unfit is not None
    assert unfit.in_use


def test_a_process_of_another_lease_is_not_foreign_until_it_takes_memory():
    visitor = NpuProcess(4712, "python3.1", 197)
    touched = npu(processes=(visitor,), memory_used_mib=3377)
    assert why_unfit(touched) is not None
    assert why_unfit(touched, explained=lambda process: process == visitor) is None
    filled = npu(processes=(ENGINE,), memory_used_mib=33180)
    unfit = why_unfit(filled, explained=lambda _: True)
    assert unfit is not None
    assert unfit.reason == (
        "has 33180 MiB in use by pid 4711 (VLLMEngineCore, 30000 MiB) (idle: at most 3584)"
    )


def test_a_chip_whose_memory_is_not_told():
    assert why_unfit(npu(memory_used_mib=None, memory_total_mib=None), 0.9) is None


@pytest.mark.parametrize("used", [3180, 3419, 3780])
def test_memory_is_back_when_it_is_near_what_it_was(used):
    assert why_not_back(IDLE, npu(memory_used_mib=used)) == ""


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        ({}, {"memory_used_mib": 3781}, "has 3781 MiB in use (3180 before its lease)"),
        (
            {},
            {"memory_used_mib": 33180, "processes": (ENGINE,)},
            "has 33180 MiB in use, held by pid 4711 (VLLMEngineCore, 30000 MiB) "
            "(3180 before its lease)",
        ),
        (
            {"memory_used_mib": None},
            {"memory_used_mib": None, "processes": (ENGINE,)},
            "is used by pid 4711 (VLLMEngineCore, 30000 MiB)",
        ),
    ],
)
def test_memory_that_is_not_back(before, now, reason):
    assert why_not_back(npu(**before), npu(**now)) == reason


def test_a_chip_that_was_below_idle_may_come_back_to_idle():
    assert why_not_back(npu(memory_used_mib=2874), npu(memory_used_mib=3580)) == ""
