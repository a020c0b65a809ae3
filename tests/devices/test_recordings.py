from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.hosts.playing import HOSTS, recordings
from pytest_qwenvl.devices.npu import Npu, NpuProcess, generation_of
from pytest_qwenvl.devices.npu_topology import parse_npus

QUESTIONS = ("info", "info-m", "info-t-topo")


def outputs(host: str | Path) -> list[str]:
    return [(HOSTS / host / f"{name}.txt").read_text(encoding="utf-8") for name in QUESTIONS]


def npus(host: str) -> tuple[Npu, ...]:
    return parse_npus(*outputs(host))


def test_every_recording_has_its_sources_named():
    readme = (HOSTS / "README.md").read_text(encoding="utf-8")
    assert len(recordings()) == 6
    assert all(f"| `{host.name}` |" in readme for host in recordings())


@pytest.mark.parametrize(
    ("host", "generation", "count", "total"),
    [
        ("a2-8x910b3", "a2", 8, 65536),
        ("a2-2x910b3-gaps", "a2", 2, 65536),
        ("a3-16x910c", "a3", 16, 65536),
        ("a3-16x910c-busy", "a3", 16, 65536),
        ("a5-8", "a5", 8, 98304),
    ],
)
def test_every_chip_of_a_host(host, generation, count, total):
    found = npus(host)
    assert [npu.logic_id for npu in found] == list(range(count))
    assert {npu.generation for npu in found} == {generation}
    assert {npu.memory_total_mib for npu in found} == {total}
    assert {npu.health for npu in found} == {"OK"}
    # An idle chip is never empty.
    assert all(npu.memory_used_mib and npu.memory_used_mib > 2800 for npu in found)
    for npu in found:
        assert set(npu.interconnect) == set(range(count)) - {npu.logic_id}


def test_a_310p_has_ddr_and_two_chips_a_card():
    found = npus("310p-4")
    assert [(it.card, it.die, it.logic_id) for it in found] == [
        (2, 0, 0),
        (2, 1, 1),
        (5, 0, 2),
        (5, 1, 3),
    ]
    assert [(it.memory_used_mib, it.memory_total_mib) for it in found] == [
        (1529, 44280),
        (1412, 43693),
        (1417, 44216),
        (1405, 43757),
    ]
    assert {it.generation for it in found} == {"310p"}
    assert found[0].interconnect == {1: "PIX", 2: "SYS", 3: "SYS"}


def test_a_chip_is_not_its_card():
    first, second = npus("a2-2x910b3-gaps")
    assert (first.logic_id, first.card, first.die) == (0, 8, 0)
    assert (second.logic_id, second.card, second.die) == (1, 9, 0)
    assert first.processes == ()
    assert (second.memory_used_mib, second.processes) == (
        60156,
        (NpuProcess(2290156, "VLLMEngineCore", 56630),),
    )
    assert second.cpu_affinity == tuple(range(24))


def test_two_dies_share_a_card_and_are_nearest_to_each_other():
    found = npus("a3-16x910c")
    assert [(it.card, it.die) for it in found] == [divmod(number, 2) for number in range(16)]
    for npu in found:
        nearest = [other for other, kind in npu.interconnect.items() if kind == "SIO"]
        assert nearest == [npu.logic_id ^ 1]
    assert found[4].cpu_affinity == found[5].cpu_affinity == tuple(range(80, 120))


def test_processes_belong_to_a_die_and_may_name_another_pid_inside():
    found = npus("a3-16x910c-busy")
    assert found[0].processes == (NpuProcess(692318, "python3", 12417),)
    assert found[8].processes == (NpuProcess(632276, "VLLMWorker_TP", 54211, 418),)
    assert [it.name for it in found[9].processes] == ["VLLMWorker_TP", "python3.1"]
    assert (found[8].memory_used_mib, found[9].memory_used_mib) == (57784, 57831)
    assert [it.logic_id for it in found if not it.processes] == [2, 3, 6, 7, 12, 13]
    assert {it.cpu_affinity for it in found} == {()}


def test_a_950_counts_by_card():
    found = npus("a5-8")
    assert [(it.card, it.die) for it in found] == [(number, 0) for number in range(8)]
    assert found[5].processes == (NpuProcess(2018733, "VLLMWorker_TP", 30212),)
    assert found[0].interconnect == dict.fromkeys(range(1, 8), "UB")


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("910B3", "a2"),
        ("910B4-1", "a2"),
        ("910B2C", "a2"),
        ("Ascend910B1", "a2"),
        ("Ascend910", "a3"),
        ("Ascend910_9391", "a3"),
        ("910C", "a3"),
        ("310P3", "310p"),
        ("Ascend950PR", "a5"),
        ("910ProB", None),
        ("910A", None),
        ("310B4", None),
        ("910", None),
    ],
)
def test_generations_by_name(name, generation):
    assert generation_of(name) == generation
