from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fixtures.hosts.playing import HOSTS, PlayedHost, make_device_nodes, recordings
from pytest_qwenvl.devices.inventory import Inventory, take_inventory
from pytest_qwenvl.errors import UsageProblem
from tests.engines.support import PATIENCE, wait_until


def inventory_of(host: PlayedHost, **changes: str) -> Inventory:
    environment = {**os.environ, **host.environment, **changes}
    return take_inventory("auto", environment, host.state / "no-nodes", timeout=PATIENCE)


@pytest.mark.parametrize("recording", [it.name for it in recordings()])
def test_a_played_host_is_its_recording(tmp_path, recording):
    host = PlayedHost(recording, tmp_path)
    for name in ("info", "info -m", "info -t topo"):
        done = subprocess.run(
            ["npu-smi", *name.split()],
            env=host.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        recorded = HOSTS / recording / f"{name.replace(' -', '-').replace(' ', '-')}.txt"
        assert done.stdout == recorded.read_text(encoding="utf-8")


@pytest.mark.parametrize("recording", ["a2-2x910b3-gaps", "a3-16x910c", "310p-4", "a5-8"])
def test_memory_follows_real_processes(tmp_path, recording):
    host = PlayedHost(recording, tmp_path)
    before = inventory_of(host)
    with host.held(1, mib=2100, name="VLLMWorker_TP0_of_a_long_name") as holder:
        held = inventory_of(host)
        with host.held(1, mib=100) as other:
            both = inventory_of(host).npus[1]
        assert other.pid in {process.pid for process in both.processes}
        holder.kill()
        holder.wait()
        after = inventory_of(host)
    assert held.npus[0] == before.npus[0]
    (process,) = set(held.npus[1].processes) - set(before.npus[1].processes)
    assert (process.pid, process.name, process.memory_mib) == (holder.pid, "VLLMWorker_TP0_", 2100)
    assert before.npus[1].memory_used_mib is not None
    assert held.npus[1].memory_used_mib == before.npus[1].memory_used_mib + 2100
    assert both.memory_used_mib == before.npus[1].memory_used_mib + 2200
    assert after == before


def test_memory_that_does_not_come_back(tmp_path):
    host = PlayedHost("a3-16x910c", tmp_path)
    before = inventory_of(host).npus[6]
    host.inject(keeps_memory=[6])
    with host.held(6, 7, mib=50000):
        pass
    npus = inventory_of(host).npus
    assert npus[6].processes == npus[7].processes == ()
    assert npus[6].memory_used_mib == (before.memory_used_mib or 0) + 50000
    assert (npus[7].memory_used_mib or 0) < 4000


def test_one_bad_device_among_good_ones(tmp_path):
    host = PlayedHost("a3-16x910c", tmp_path)
    host.inject(health={"3": "Critical"})
    assert [it.logic_id for it in inventory_of(host).npus if it.health != "OK"] == [3]


def test_what_the_inventory_says_of_a_host(tmp_path):
    host = PlayedHost("a3-16x910c", tmp_path)
    inventory = inventory_of(host)
    assert (inventory.backend, inventory.hardware, inventory.mask) == ("npu", "a3", None)
    assert inventory.devices == tuple(range(16))
    assert inventory.physical == tuple(f"npu{number}" for number in range(16))
    assert [npu.logic_id for npu in inventory.npus] == list(range(16))
    assert inventory.chosen_because == f"found {host.path / 'npu-smi'}"


def test_the_mask_counts_chips_and_keeps_its_order(tmp_path):
    inventory = inventory_of(
        PlayedHost("a2-2x910b3-gaps", tmp_path), ASCEND_RT_VISIBLE_DEVICES="1,0"
    )
    assert inventory.physical == ("npu1", "npu0")
    assert inventory.devices == (0, 1)
    assert [npu.card for npu in inventory.npus] == [9, 8]
    assert inventory.mask == "1,0"


@pytest.mark.parametrize("mask", ["8", "0,0", "0,2", "-1"])
def test_a_mask_that_names_what_is_not_there(tmp_path, mask):
    # 8 is a card of this host, and no chip.
    with pytest.raises(UsageProblem) as caught:
        inventory_of(PlayedHost("a2-2x910b3-gaps", tmp_path), ASCEND_RT_VISIBLE_DEVICES=mask)
    assert f"ASCEND_RT_VISIBLE_DEVICES={mask!r}" in str(caught.value)
    assert "NPUs: 0, 1" in str(caught.value)


def test_an_empty_mask_hides_every_npu(tmp_path):
    with pytest.raises(UsageProblem, match="is set but empty and hides every NPU: unset it"):
        inventory_of(PlayedHost("310p-4", tmp_path), ASCEND_RT_VISIBLE_DEVICES="")


@pytest.mark.parametrize("question", ["info", "info -m", "info -t topo"])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("fail", "ended with exit status 5 and said:\n  Failed to get device information."),
        ("dcmi", "the driver refuses all NPUs when one of those it shows is in use"),
        ("rubbish", r"printed cannot be read: "),
        ("nothing", "printed cannot be read: no "),
        ("cut", "printed cannot be read: cut off after"),
        ("flood", "printed more than 4 MiB"),
    ],
)
def test_an_npu_smi_that_does_not_answer(tmp_path, question, fault, said):
    host = PlayedHost("a2-8x910b3", tmp_path)
    host.inject(commands={question: fault})
    with pytest.raises(UsageProblem) as caught:
        inventory_of(host)
    assert said in str(caught.value)
    assert f"{host.path}/npu-smi {question} " in str(caught.value)
    assert "this looks like an Ascend host" in str(caught.value)
    assert "--backend cpu" in str(caught.value)
    assert all(line.isprintable() for line in str(caught.value).splitlines())


@pytest.mark.parametrize("fault", ["hang", "hang-deaf"])
def test_an_npu_smi_that_hangs(tmp_path, fault):
    host = PlayedHost("a2-8x910b3", tmp_path)
    # All three, since on a loaded machine a sound one may not be done in time either.
    host.inject(commands=dict.fromkeys(("info", "info -m", "info -t topo"), fault))
    environment = {**os.environ, **host.environment}
    with pytest.raises(UsageProblem, match=r"npu-smi info did not end within 3 s and said nothing"):
        take_inventory("npu", environment, tmp_path, timeout=3)
    wait_until(lambda: not _processes_of(host), "the hanging processes are gone")


def _processes_of(host: PlayedHost) -> list[str]:
    """Processes that still play this host."""
    left = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if os.fsencode(host.state) in path.read_bytes():
                left.append(path.parent.name)
        except OSError:
            continue
    return left


def test_an_npu_smi_in_another_language(tmp_path):
    host = PlayedHost("a2-8x910b3", tmp_path)
    host.inject(language="caller's")
    assert inventory_of(host, LC_ALL="zh_CN.UTF-8", LANGUAGE="zh").hardware == "a2"
    host.inject(language="always")
    with pytest.raises(UsageProblem, match=r"columns that are not known: .*芯片逻辑号"):
        inventory_of(host, LC_ALL="zh_CN.UTF-8")


def test_a_host_without_topology(tmp_path):
    host = PlayedHost("310p-4", tmp_path)
    host.inject(commands={"info -t topo": "not-supported"})
    assert [dict(npu.interconnect) for npu in inventory_of(host).npus] == [{}] * 4


def test_an_npu_smi_that_cannot_be_started(tmp_path):
    host = PlayedHost("a2-8x910b3", tmp_path)
    (host.path / "npu-smi").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(UsageProblem, match=r"npu-smi info could not be started: Exec format error"):
        inventory_of(host)


def test_device_nodes_count_only_where_there_is_no_npu_smi(tmp_path):
    nodes = make_device_nodes(tmp_path / "dev", [0, 1, 2])
    empty = tmp_path / "empty"
    empty.mkdir()
    inventory = take_inventory("auto", {"PATH": str(empty)}, nodes)
    assert inventory.physical == ("npu0", "npu1", "npu2")
    assert (inventory.hardware, inventory.npus) == ("npu", ())
    host = PlayedHost("a2-8x910b3", tmp_path)
    host.inject(commands={"info": "fail"})
    with pytest.raises(UsageProblem, match="cannot be listed"):
        take_inventory("auto", {**os.environ, **host.environment}, nodes, timeout=PATIENCE)


def test_generations_are_not_mixed(tmp_path):
    host = PlayedHost("a2-2x910b3-gaps", tmp_path)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for path in host.recording.iterdir():
        text = path.read_text(encoding="utf-8").replace("| 9     910B3", "| 9     310P3")
        (mixed / path.name).write_text(text, encoding="utf-8")
    with pytest.raises(UsageProblem, match=r"several generations are visible \(310p, a2\)"):
        inventory_of(host, QWENVL_HOST=str(mixed))
    chosen = inventory_of(host, QWENVL_HOST=str(mixed), ASCEND_RT_VISIBLE_DEVICES="0")
    assert chosen.hardware == "a2"


def test_numbers_with_gaps_become_a_mask(tmp_path):
    host = PlayedHost("a2-2x910b3-gaps", tmp_path)
    shifted = tmp_path / "shifted"
    shifted.mkdir()
    for path in host.recording.iterdir():
        text = path.read_text(encoding="utf-8")
        text = text.replace("1                              Ascend", "4" + " " * 30 + "Ascend")
        (shifted / path.name).write_text(text.replace("NPU1 ", "NPU4 "), encoding="utf-8")
    inventory = inventory_of(host, QWENVL_HOST=str(shifted))
    assert (inventory.devices, inventory.mask) == ((0, 1), "0,4")
    assert inventory.physical == ("npu0", "npu4")
