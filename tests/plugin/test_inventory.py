from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_qwenvl.devices.inventory import signs_of_ascend, take_inventory
from pytest_qwenvl.errors import UsageProblem


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    directory = tmp_path / "dev"
    directory.mkdir()
    for name in ("davinci0", "davinci10", "davinci2", "davinci_manager", "hisi_hdc", "null"):
        (directory / name).touch()
    return directory


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    directory = tmp_path / "nothing"
    directory.mkdir()
    return directory


def test_cores_where_nothing_says_ascend(nothing):
    inventory = take_inventory("auto", {"PATH": str(nothing)}, nothing)
    cores = sorted(os.sched_getaffinity(0))
    assert inventory.backend == inventory.hardware == "cpu"
    assert inventory.devices == tuple(range(len(cores)))
    assert inventory.physical == tuple(f"core{core}" for core in cores)
    assert inventory.mask == ",".join(map(str, cores))
    assert inventory.chosen_because == "no sign of an NPU on this host"


def test_cpu_asked_for_beside_npus(devices):
    inventory = take_inventory("cpu", {"ASCEND_RT_VISIBLE_DEVICES": "0"}, devices)
    assert inventory.backend == "cpu"
    assert inventory.chosen_because == "asked for by --backend cpu"


def test_npus_in_the_order_of_their_numbers(devices, nothing):
    inventory = take_inventory("auto", {"PATH": str(nothing)}, devices)
    assert inventory.backend == "npu"
    assert inventory.physical == ("npu0", "npu2", "npu10")
    assert inventory.devices == (0, 1, 2)
    assert inventory.mask is None
    assert inventory.chosen_because == f"found {devices / 'davinci0'}"


def test_the_callers_mask_is_kept_in_its_order(devices):
    inventory = take_inventory("npu", {"ASCEND_RT_VISIBLE_DEVICES": "10, 0"}, devices)
    assert inventory.physical == ("npu10", "npu0")
    assert inventory.devices == (0, 1)
    assert inventory.mask == "10, 0"


@pytest.mark.parametrize("mask", ["0,0", "0,7", "-1", "0,1"])
def test_a_mask_that_names_what_is_not_there(devices, mask):
    with pytest.raises(UsageProblem) as caught:
        take_inventory("auto", {"ASCEND_RT_VISIBLE_DEVICES": mask}, devices)
    assert f"ASCEND_RT_VISIBLE_DEVICES={mask!r}" in str(caught.value)
    assert "device nodes: 0, 2, 10" in str(caught.value)


@pytest.mark.parametrize("mask", ["a", "0,,1", "0;1", "0-1"])
def test_a_mask_that_is_no_list(devices, mask):
    with pytest.raises(UsageProblem, match="needs device numbers with commas, such as 0,1"):
        take_inventory("auto", {"ASCEND_RT_VISIBLE_DEVICES": mask}, devices)


def test_npus_asked_for_where_none_is(nothing):
    with pytest.raises(UsageProblem) as caught:
        take_inventory("npu", {"PATH": str(nothing)}, nothing)
    assert str(caught.value).startswith(
        "--backend npu, but no NPU is visible (seen: no device node, no npu-smi, no CANN "
    )
    assert "--backend cpu" in str(caught.value)


def test_an_ascend_host_is_never_moved_to_the_cpu_silently(nothing):
    with pytest.raises(UsageProblem, match=r"looks like an Ascend host.*\$ASCEND_HOME_PATH"):
        take_inventory("auto", {"PATH": str(nothing), "ASCEND_HOME_PATH": "/usr/cann"}, nothing)


def test_an_empty_mask_hides_every_npu(devices):
    with pytest.raises(UsageProblem, match="no NPU is visible"):
        take_inventory("auto", {"ASCEND_RT_VISIBLE_DEVICES": ""}, devices)


def test_every_sign_is_named(devices, nothing):
    tool = nothing / "npu-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    environment = {"PATH": str(nothing), "ASCEND_TOOLKIT_HOME": "/cann"}
    assert signs_of_ascend(environment, devices) == [
        *(str(devices / name) for name in ("davinci0", "davinci10", "davinci2")),
        str(tool),
        "$ASCEND_TOOLKIT_HOME",
    ]
    assert signs_of_ascend({"PATH": str(devices)}, nothing) == []
