"""Planted hosts: a folder that stands for the root of a healthy Ascend host, and its engine."""

from __future__ import annotations

import functools
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fixtures.hosts.playing import PlayedHost, make_device_nodes
from pytest_qwenvl.devices.inventory import Inventory, take_inventory
from pytest_qwenvl.engines.interpreter import Interpreter
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.preflight.host import Host, Space
from pytest_qwenvl.profile_loading import load_profiles

SUITE = Path(__file__).parents[2] / "conformance"
GIB = 2**30
DRIVER = "/usr/local/Ascend/driver/version.info"
FIRMWARE = "/usr/local/Ascend/firmware/version.info"
CANN = "/usr/local/Ascend/ascend-toolkit/latest/aarch64-linux/ascend_toolkit_install.info"
JEMALLOC = "/usr/lib64/libjemalloc.so.2"

_RECORDINGS = {"a2": "a2-8x910b3", "a3": "a3-16x910c", "310p": "310p-4", "a5": "a5-8"}
_BUILT_FOR = {"a2": "A2", "a3": "A3", "310p": "_310P", "a5": "A5"}
_DRIVER_TEXT = """\
Version=25.5.2
ascendhal_version=7.35.23
Innerversion=V100R001C23SPC002B212
compatible_version=[V100R001C19],[V100R001C20],[V100R001C23]
compatible_version_fw=[6.4.0,6.4.99],[7.0.0,8.9.9]
package_version=25.5.2
"""
_PROFILE = """\
schema_version = 1
name = "planted"
title = "Planted"
family = "qwen3-vl"
[weights]
path = {weights}
[image]
patch_size = 16
merge_size = 2
min_pixels = 65536
max_pixels = 16777216
tutorial_text_tokens = 29
source = "made up for the tests"
[engine.npu]
preload = ["/usr/lib/aarch64-linux-gnu/libjemalloc.so.2", "/usr/lib64/libjemalloc.so.2"]
[engine.npu.environment]
PYTORCH_NPU_ALLOC_CONF = "{allocator}"
[engine.npu.arguments]
{arguments}
[engine.cpu.environment]
VLLM_CPU_KVCACHE_SPACE = "1"
[understanding]
items = 2
agreement = 1.0
source = "made up for the tests"
[understanding.floors]
text = 1.0
[[deployments]]
name = "serve-1npu"
mode = "serve"
npus = 1
images = 4
[[deployments]]
name = "serve-2npu"
mode = "serve"
npus = 2
images = 4
"""


@functools.cache
def _inventory(generation: str) -> Inventory:
    with tempfile.TemporaryDirectory() as folder:
        played = PlayedHost(_RECORDINGS[generation], Path(folder))
        return take_inventory("npu", played.environment, Path(folder) / "no-nodes")


@dataclass
class PlantedHost:
    """A healthy host of one kind in a folder; tests break what they look for.

    Attributes:
        kind: a generation, or ``cpu``.
        spaces: room in file systems, by the absolute path of a folder on the host.
        forbidden: device nodes this user may not open.
    """

    kind: str
    folder: Path

    def __post_init__(self) -> None:
        self.root = self.folder / "root"
        self.weights = self.folder / "weights"
        self.profiles = self.folder / "profiles"
        self.environment = {"PATH": "/usr/local/bin:/usr/bin", "HOME": "/root"}
        self.spaces = {"/dev/shm": Space(16 * GIB, 15 * GIB), "/": Space(900 * GIB, 500 * GIB)}
        self.forbidden: set[str] = set()
        self.troubles: dict[str, str] = {}
        self.contained = False
        self.leased: set[str] = set()
        for name in ("dev/shm", "tmp", "root"):
            (self.root / name).mkdir(parents=True)
        write_checkpoint(self.weights)
        self.write_profile(arguments='dtype = "float16"' if self.kind == "310p" else "")
        if self.kind == "cpu":
            cores = ("core0", "core1")
            self.inventory = Inventory("cpu", (0, 1), cores, "0,1", "cpu", "planted")
            self.interpreter = self._cpu_interpreter()
        else:
            self.inventory = _inventory(self.kind)
            self.interpreter = self._npu_interpreter()
            self._install_driver()

    def write(self, absolute: str, text: str = "") -> Path:
        """A file on the host."""
        path = self.path(absolute)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def path(self, absolute: str) -> Path:
        """Where a path of the host lies."""
        return self.root / absolute.lstrip("/")

    def write_profile(
        self, *, arguments: str = "", allocator: str = "expandable_segments:True"
    ) -> None:
        """The one profile, with more engine arguments (lines of TOML)."""
        self.profiles.mkdir(exist_ok=True)
        text = _PROFILE.format(
            weights=json.dumps(str(self.weights)), arguments=arguments, allocator=allocator
        )
        (self.profiles / "planted.toml").write_text(text)

    def versions(self, **changed: str | None) -> None:
        """Other versions in the engine's interpreter; ``python`` is its own."""
        python = changed.pop("python", None) or self.interpreter.python_version
        versions = {**self.interpreter.versions, **changed}
        self.interpreter = replace(self.interpreter, versions=versions, python_version=python)

    def text(self, name: str, text: str) -> None:
        """Another content of one of the engine's own files."""
        texts = {**self.interpreter.texts, name: text}
        self.interpreter = replace(self.interpreter, texts=texts)

    def npu(self, *logic_ids: int, **changed: Any) -> None:
        """Other facts of some NPUs."""
        npus = tuple(
            replace(it, **changed) if it.logic_id in logic_ids else it for it in self.inventory.npus
        )
        self.inventory = replace(self.inventory, npus=npus)

    def host(self) -> Host:
        """The host as checks get it."""

        def space(path: Path) -> Space:
            for name, room in self.spaces.items():
                if name != "/" and path == self.path(name):
                    return room
            return self.spaces["/"]

        return Host(
            inventory=self.inventory,
            interpreter=self.interpreter if "interpreter" not in self.troubles else None,
            environment=self.environment,
            leased=frozenset(self.leased),
            root=self.root,
            contained=self.contained,
            troubles=self.troubles,
            space=space,
            usable=lambda path: path.name not in self.forbidden,
        )

    def deployments(self) -> list[PlannedDeployment]:
        """The profile's deployments."""
        profile = load_profiles([self.profiles])["planted"]
        return [PlannedDeployment(profile, it, self.weights) for it in profile.deployments]

    def _install_driver(self) -> None:
        devices = [npu.logic_id for npu in self.inventory.npus]
        nodes = make_device_nodes(self.path("/dev"), devices)
        if self.kind == "a5":
            (nodes / "devmm_svm").unlink()
            (nodes / "ummu").touch()
            (nodes / "uburma").touch()
        self.write("/usr/local/bin/npu-smi").chmod(0o755)
        self.write("/usr/local/dcmi/libdcmi.so")
        self.write("/usr/local/Ascend/driver/lib64/libascend_hal.so")
        self.write("/etc/ascend_install.info", "Driver_Install_Path_Param=/usr/local/Ascend\n")
        self.write(DRIVER, _DRIVER_TEXT)
        self.write(FIRMWARE, "Version=7.8.0.5.216\nfirmware_version=1.0\npackage_version=25.5.2\n")
        self.write(CANN, "package_name=Ascend-cann-toolkit\nversion=9.1.0\narch=aarch64\n")
        self.write(JEMALLOC)
        self.environment["ASCEND_HOME_PATH"] = "/usr/local/Ascend/ascend-toolkit/latest"

    def _npu_interpreter(self) -> Interpreter:
        versions = {
            "vllm": "0.23.0+empty",
            "vllm_ascend": "0.23.0",
            "torch": "2.10.0+cpu",
            "torch_npu": "2.10.0.post4",
            "transformers": "5.5.4",
        }
        return Interpreter(
            path=Path("/usr/local/python3.11.14/bin/python3"),
            versions=versions,
            platform="npu",
            distribution="vllm",
            python_version="3.11.14",
            site_packages=self.folder / "packages",
            # As the distributions of 0.23.0 say it.
            requires={
                "vllm": ("python <3.15,>=3.10", "torch==2.11.0", "transformers<5.6,>=5.5.1"),
                "vllm_ascend": ("python >=3.10", "torch==2.10.0", "transformers==5.5.4"),
            },
            texts={
                "vllm/config/cache.py": (
                    "    gpu_memory_utilization: float = Field(default=0.92, gt=0, le=1)\n"
                ),
                "vllm_ascend/_build_info.py": (
                    f"# Auto-generated file\n__device_type__ = '{_BUILT_FOR[self.kind]}'\n"
                ),
                "vllm_ascend/envs.py": 'variables = {"VLLM_ASCEND_ENABLE_NZ": lambda: 1}\n',
            },
        )

    def _cpu_interpreter(self) -> Interpreter:
        return Interpreter(
            path=Path("/opt/engine/bin/python"),
            versions={
                "vllm": "0.32.0",
                "vllm_ascend": None,
                "torch": "2.13.0+cpu",
                "torch_npu": None,
                "transformers": "5.19.0",
            },
            platform="cpu",
            distribution="vllm-cpu",
            python_version="3.11.7",
            site_packages=self.folder / "packages",
            requires={
                "vllm": (
                    "python <3.15,>=3.11",
                    "transformers<5.20.0,>=5.16.1",
                    'torch==2.13.0; platform_system == "Darwin"',
                    'torch==2.13.0+cpu; platform_system != "Darwin"',
                )
            },
        )


def write_checkpoint(directory: Path, shards: int = 2, dtype: str = "bfloat16") -> None:
    """A small checkpoint in several shards, each of the size its header says."""
    directory.mkdir(parents=True)
    config = {"architectures": ["Qwen3VLForConditionalGeneration"], "dtype": dtype}
    (directory / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (directory / name).write_text("{}")
    weight_map = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        tensor = f"model.layers.{number}.weight"
        weight_map[tensor] = name
        table = {tensor: {"dtype": "BF16", "shape": [16], "data_offsets": [0, 32]}}
        header = json.dumps({"__metadata__": {"format": "pt"}, **table}).encode()
        content = len(header).to_bytes(8, "little") + header + bytes(32)
        (directory / name).write_bytes(content)
    index = {"metadata": {"total_size": 32 * shards}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def shard(directory: Path, number: int = 1) -> Path:
    """One of the checkpoint's shards."""
    return sorted(directory.glob("*.safetensors"))[number - 1]
