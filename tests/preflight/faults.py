"""What is planted, on which kind of host, and what must be found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from pytest_qwenvl.preflight.host import Space
from tests.preflight.planted import CANN, DRIVER, FIRMWARE, GIB, PlantedHost, shard


class Fault(NamedTuple):
    """Something planted, on which kind of host, and what must be found: id and words of it."""

    kind: str
    plant: Callable[[PlantedHost], object]
    found: dict[str, str]
    undecided: frozenset[str] = frozenset()


def shared(total: float, free: float) -> Callable[[PlantedHost], object]:
    return lambda it: it.spaces.update({"/dev/shm": Space(int(total * GIB), int(free * GIB))})


def without(absolute: str) -> Callable[[PlantedHost], object]:
    return lambda it: it.path(absolute).unlink()


def emptied(absolute: str) -> Callable[[PlantedHost], None]:
    def plant(host: PlantedHost) -> None:
        for path in host.path(absolute).iterdir():
            path.unlink()

    return plant


def folder_for(absolute: str) -> Callable[[PlantedHost], None]:
    """What docker makes of a mount whose source is missing."""

    def plant(host: PlantedHost) -> None:
        host.path(absolute).unlink()
        host.path(absolute).mkdir()

    return plant


def no_npu_smi(host: PlantedHost) -> None:
    host.path("/usr/local/bin/npu-smi").unlink()
    host.inventory = replace(host.inventory, npus=(), hardware="npu")


def unlisted(host: PlantedHost) -> None:
    host.troubles["npus"] = "npu-smi info: dcmi module initialize failed. ret is -8005"
    host.inventory = replace(
        host.inventory, devices=(), physical=(), mask=None, npus=(), hardware="npu"
    )


def release(host: PlantedHost, ascend: str, vllm: str, cann: str, torch: str) -> None:
    """Everything of another release of vllm-ascend."""
    host.versions(
        vllm_ascend=ascend, vllm=vllm, torch=torch, torch_npu=torch, transformers="4.57.1"
    )
    host.write(CANN, f"version={cann}\n")
    host.interpreter = replace(host.interpreter, requires={"vllm": ("transformers>=4.56,<5",)})


def contained(host: PlantedHost, cann: str) -> None:
    """Engines run in an image: the host has no CANN, and its variables do not reach them."""
    host.contained = True
    host.path(CANN).unlink()
    host.environment["VLLM_USE_V1"] = "1"
    host.text("/opt/cann/aarch64-linux/ascend_toolkit_install.info", f"version={cann}\n")


def cut(host: PlantedHost) -> None:
    path = shard(host.weights, 2)
    path.write_bytes(path.read_bytes()[:-1])


def other_models_shard(host: PlantedHost) -> None:
    shard(host.weights, 2).write_bytes(shard(host.weights, 1).read_bytes())


def all_but(count: int) -> Callable[[PlantedHost], None]:
    """Another process has most of the memory of every NPU but some."""

    def plant(host: PlantedHost) -> None:
        taken = [npu.logic_id for npu in host.inventory.npus][count:]
        host.npu(*taken, memory_used_mib=40000)

    return plant


def checkpoint_in_bf16_without_dtype(host: PlantedHost) -> None:
    host.write_profile()


NO_CHIP = frozenset({"QVL-ENV-006", "QVL-ENV-009", "QVL-ENV-012", "QVL-ENV-013"})
FAULTS = {
    # Versions.
    "vllm newer": Fault("a2", lambda it: it.versions(vllm="0.24.0"), {"QVL-ENV-002": "0.24.0"}),
    "vllm derived from vllm-ascend": Fault(
        "a2",
        lambda it: release(it, "0.14.0rc1", "0.14.0", "8.5.0", "2.9.0"),
        {"QVL-ENV-002": "vllm-ascend 0.14.0rc1 with vllm 0.14.0"},
    ),
    "torch of vllm's own wheel": Fault(
        "a3", lambda it: it.versions(torch="2.11.0"), {"QVL-ENV-003": "torch 2.11.0"}
    ),
    "torch_npu without its post-release": Fault(
        "a2", lambda it: it.versions(torch_npu="2.10.0"), {"QVL-ENV-003": "torch_npu 2.10.0 "}
    ),
    "no torch_npu": Fault(
        "a2", lambda it: it.versions(torch_npu=None), {"QVL-ENV-001": "no torch_npu"}
    ),
    "transformers upgraded": Fault(
        "a2",
        lambda it: it.versions(transformers="5.14.1"),
        {"QVL-ENV-003": "transformers 5.14.1"},
    ),
    "python too new": Fault(
        "a2", lambda it: it.versions(python="3.13.1"), {"QVL-ENV-003": "python 3.13.1"}
    ),
    "cpu wheel on NPUs": Fault(
        "a2",
        lambda it: setattr(it, "interpreter", PlantedHost("cpu", it.folder / "cpu").interpreter),
        {"QVL-ENV-001": "made for cpu"},
        frozenset({"QVL-ENV-002", "QVL-ENV-003", "QVL-ENV-004", "QVL-ENV-006", "QVL-ENV-012"}),
    ),
    "npu wheel on the CPU": Fault(
        "cpu",
        lambda it: setattr(
            it, "interpreter", replace(it.interpreter, platform="npu", distribution="vllm")
        ),
        {"QVL-ENV-001": "made for npu"},
    ),
    "no vLLM": Fault(
        "cpu",
        lambda it: it.troubles.update(interpreter="/usr/bin/python3 has no vLLM"),
        {"QVL-ENV-001": "has no vLLM"},
        frozenset({"QVL-ENV-003", "QVL-ENV-015"}),
    ),
    "torch older on the CPU": Fault(
        "cpu", lambda it: it.versions(torch="2.12.0+cpu"), {"QVL-ENV-003": "torch 2.12.0+cpu"}
    ),
    "another build of the right torch": Fault(
        "cpu", lambda it: it.versions(torch="2.13.0"), {}
    ),
    # CANN, driver, firmware, chip.
    "CANN of the release candidate": Fault(
        "a2", lambda it: it.write(CANN, "version=9.0.1\n"), {"QVL-ENV-004": "CANN 9.0.1"}
    ),
    "no CANN": Fault("a2", without(CANN), {"QVL-ENV-004": "no CANN"}, frozenset({"QVL-ENV-005"})),
    "CANN somewhere else": Fault(
        "a2",
        lambda it: it.environment.update(ASCEND_HOME_PATH="/opt/cann"),
        {"QVL-ENV-004": "no CANN toolkit in /opt/cann"},
        frozenset({"QVL-ENV-005"}),
    ),
    "driver older than CANN supports": Fault(
        "a3",
        lambda it: it.write(DRIVER, "Version=25.0.rc1.1\n"),
        {"QVL-ENV-005": "driver 25.0.rc1.1"},
    ),
    "firmware that the driver refuses": Fault(
        "a2", lambda it: it.write(FIRMWARE, "Version=9.0.1.2\n"), {"QVL-ENV-005": "9.0.1.2"}
    ),
    "the index's wheel on an A3": Fault(
        "a3",
        lambda it: it.text("vllm_ascend/_build_info.py", "__device_type__ = 'A2'\n"),
        {"QVL-ENV-006": "built for A2"},
    ),
    "an A2 image on a 310P": Fault(
        "310p",
        lambda it: it.text("vllm_ascend/_build_info.py", "__device_type__ = 'A2'\n"),
        {"QVL-ENV-006": "chips 310P3 (310p)"},
    ),
    "an older image for a 310P on an A2": Fault(
        "a2",
        lambda it: it.text("vllm_ascend/_build_info.py", "__soc_version__ = 'ASCEND310P3'\n"),
        {"QVL-ENV-006": "built for 310P3"},
    ),
    "an older image for the chip": Fault(
        "a3",
        lambda it: it.text("vllm_ascend/_build_info.py", "__soc_version__ = 'ascend910_9391'\n"),
        {},
    ),
    "CANN of another release in the image": Fault(
        "a2",
        lambda it: contained(it, "8.5.1"),
        {"QVL-ENV-004": "CANN 8.5.1 (/opt/cann/aarch64-linux/ascend_toolkit_install.info)"},
        frozenset({"QVL-ENV-014"}),
    ),
    # Device nodes and mounts.
    "a node short": Fault("a2", without("/dev/davinci3"), {"QVL-ENV-007": "no /dev/davinci3"}),
    "no node at all": Fault(
        "a2",
        lambda it: [path.unlink() for path in it.path("/dev").glob("davinci[0-9]*")],
        {"QVL-ENV-007": "no /dev/davinci0, /dev/davinci1, /dev/davinci2, /dev/davinci3 and 4 more"},
    ),
    "no manager": Fault(
        "a3", without("/dev/davinci_manager"), {"QVL-ENV-007": "no /dev/davinci_manager"}
    ),
    "no devmm_svm": Fault("310p", without("/dev/devmm_svm"), {"QVL-ENV-007": "no /dev/devmm_svm"}),
    "no uburma": Fault("a5", without("/dev/uburma"), {"QVL-ENV-007": "no /dev/uburma"}),
    "a node of another group": Fault(
        "a2", lambda it: it.forbidden.add("hisi_hdc"), {"QVL-ENV-007": "/dev/hisi_hdc may not"}
    ),
    "no dcmi": Fault(
        "a2",
        lambda it: shutil.rmtree(it.path("/usr/local/dcmi")),
        {"QVL-ENV-008": "no folder /usr/local/dcmi/"},
    ),
    "empty driver libraries": Fault(
        "a3",
        emptied("/usr/local/Ascend/driver/lib64"),
        {"QVL-ENV-008": "/usr/local/Ascend/driver/lib64/ is empty"},
    ),
    "version.info a folder": Fault(
        "a2",
        folder_for(DRIVER),
        {"QVL-ENV-008": f"{DRIVER} is a folder"},
        frozenset({"QVL-ENV-005"}),
    ),
    "no install info": Fault(
        "a5", without("/etc/ascend_install.info"), {"QVL-ENV-008": "no /etc/ascend_install.info"}
    ),
    "no npu-smi": Fault("a2", no_npu_smi, {"QVL-ENV-008": "no npu-smi"}, NO_CHIP),
    # Room.
    "docker's own /dev/shm": Fault("a2", shared(0.0625, 0.0625), {"QVL-ENV-009": "0.06 GiB"}),
    "shared memory of an A2 on a 310P": Fault("310p", shared(1, 1), {"QVL-ENV-009": "1.00 GiB"}),
    "shared memory full": Fault("a3", shared(16, 0.1), {"QVL-ENV-009": "0.10 GiB free"}),
    "docker's own /dev/shm on the CPU": Fault(
        "cpu", shared(0.0625, 0.0625), {"QVL-ENV-009": "0.06 GiB"}
    ),
    "temporary files full": Fault(
        "a2",
        lambda it: it.spaces.update({"/tmp": Space(GIB, 0)}),
        {"QVL-ENV-011": "0.00 GiB free for /tmp"},
    ),
    # Weights.
    "a shard cut short": Fault("a2", cut, {"QVL-ENV-010": "model-00002-of-00002"}),
    "a shard cut short on the CPU": Fault("cpu", cut, {"QVL-ENV-010": "model-00002-of-00002"}),
    "a shard missing": Fault(
        "a3", lambda it: shard(it.weights).unlink(), {"QVL-ENV-010": "no "}
    ),
    "a shard of zeros": Fault(
        "a2",
        lambda it: shard(it.weights).write_bytes(bytes(200)),
        {"QVL-ENV-010": "no safetensors header"},
    ),
    "a shard that is a pointer": Fault(
        "a2",
        lambda it: shard(it.weights).write_text("version https://git-lfs.github.com/spec/v1\n"),
        {"QVL-ENV-010": "no safetensors header"},
    ),
    "another shard's content": Fault(
        "a2", other_models_shard, {"QVL-ENV-010": "lacks 1 tensors, model.layers.1.weight"}
    ),
    "a broken index": Fault(
        "a2",
        lambda it: (it.weights / "model.safetensors.index.json").write_text("{"),
        {"QVL-ENV-010": "index.json is broken"},
    ),
    "no image processor": Fault(
        "cpu",
        lambda it: (it.weights / "preprocessor_config.json").unlink(),
        {"QVL-ENV-010": "no preprocessor_config.json"},
    ),
    # NPUs.
    "memory taken everywhere": Fault("a2", all_but(0), {"QVL-ENV-012": "0 of 8 NPUs have 92%"}),
    "one free NPU for two": Fault("a3", all_but(1), {"QVL-ENV-012": "1 of 16 NPUs have 92%"}),
    "memory of NPUs that another run leases": Fault(
        "a2",
        lambda it: (all_but(0)(it), it.leased.update({"npu0", "npu5"})),
        {},
    ),
    "one leased NPU for two": Fault(
        "a2",
        lambda it: (all_but(0)(it), it.leased.add("npu3")),
        {"QVL-ENV-012": "1 of 8 NPUs have 92%"},
    ),
    "a sick NPU": Fault(
        "a2", lambda it: it.npu(2, health="Warning"), {"QVL-ENV-013": "NPU 2 (card 2) is Warning"}
    ),
    "NPUs that cannot be listed": Fault(
        "a3",
        unlisted,
        {"QVL-ENV-013": "dcmi module initialize failed"},
        frozenset({"QVL-ENV-006", "QVL-ENV-007", "QVL-ENV-009", "QVL-ENV-012"}),
    ),
    # Settings.
    "no jemalloc": Fault(
        "a3", without("/usr/lib64/libjemalloc.so.2"), {"QVL-ENV-014": "none of /usr/lib/aarch64"}
    ),
    "allocator settings that exclude each other": Fault(
        "a2",
        lambda it: it.write_profile(allocator="max_split_size_mb:256,expandable_segments:True"),
        {"QVL-ENV-015": "max_split_size_mb:256,expandable_segments:True in planted"},
    ),
    "the tutorial's allocator setting beside the profile's": Fault(
        "a2",
        lambda it: it.environment.update(
            PYTORCH_NPU_ALLOC_CONF="max_split_size_mb:256,expandable_segments:True"
        ),
        # The profile's own value wins, so the engine never sees it.
        {},
    ),
    "engine V1 asked for": Fault(
        "a2",
        lambda it: it.environment.update(VLLM_USE_V1="1"),
        {"QVL-ENV-015": "VLLM_USE_V1=1 in the environment"},
    ),
    "engine V0 asked for on the CPU": Fault(
        "cpu",
        lambda it: it.environment.update(VLLM_USE_V1="0"),
        {"QVL-ENV-015": "VLLM_USE_V1=0 in the environment"},
    ),
    "a variable that was removed": Fault(
        "a3",
        lambda it: it.environment.update(VLLM_ASCEND_ENABLE_FLASHCOMM="1"),
        {"QVL-ENV-015": "VLLM_ASCEND_ENABLE_FLASHCOMM=1"},
    ),
    "bfloat16 on a 310P": Fault(
        "310p",
        lambda it: it.write_profile(arguments='dtype = "bfloat16"'),
        {"QVL-ENV-015": 'dtype "bfloat16" in planted'},
    ),
    "a checkpoint in bfloat16 on a 310P": Fault(
        "310p",
        checkpoint_in_bf16_without_dtype,
        {"QVL-ENV-015": "in the weights' config.json"},
    ),
}  # fmt: skip
