"""What the probe of an interpreter tells checks, read from real files by a real interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.hosts.playing import PlayedHost
from pytest_qwenvl.devices.locks import LockDirectory
from pytest_qwenvl.engines.interpreter import probe
from pytest_qwenvl.preflight.examination import devices_now
from tests.preflight.planted import SUITE
from tests.stand_in_engine.install import clean_environment, stand_in_python

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}"


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter with a vllm and a vllm-ascend that end whoever imports them."""
    packages = tmp_path / "packages"
    for name, file, text in (
        ("vllm", "config/cache.py", "    gpu_memory_utilization: float = 0.9\n"),
        ("vllm_ascend", "_build_info.py", "__device_type__ = 'A3'\n"),
    ):
        path = packages / name / file
        path.parent.mkdir(parents=True)
        path.write_text(text)
        (packages / name / "__init__.py").write_text("raise SystemExit('imported')\n")
        (packages / f"{name}-0.23.0.dist-info").mkdir()
        more = "Requires-Python: >=3.10\nRequires-Dist: transformers==5.5.4\n"
        text = METADATA.format(name=name.replace("_", "-"), version="0.23.0", more=more)
        (packages / f"{name}-0.23.0.dist-info" / "METADATA").write_text(text)
    toolkit = tmp_path / "cann" / "aarch64-linux"
    toolkit.mkdir(parents=True)
    (toolkit / "ascend_toolkit_install.info").write_text("version=9.1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(packages))
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path / "cann"))
    return Path(sys.executable)


def test_what_distributions_ask_for_and_files_say(python, tmp_path):
    found = probe(python)
    assert found.platform == "npu"
    for name in ("vllm", "vllm_ascend"):
        assert found.requires[name] == ("python >=3.10", "transformers==5.5.4")
        assert found.locations[name] == tmp_path / "packages" / name
    assert found.texts == {
        "vllm/config/cache.py": "    gpu_memory_utilization: float = 0.9\n",
        "vllm_ascend/_build_info.py": "__device_type__ = 'A3'\n",
        str(tmp_path / "cann/aarch64-linux/ascend_toolkit_install.info"): "version=9.1.0\n",
    }


def test_devices_that_a_lease_holds(tmp_path, monkeypatch):
    played = PlayedHost("a2-8x910b3", tmp_path)
    monkeypatch.setenv("QWENVL_LOCK_DIRECTORY", str(tmp_path / "locks"))
    assert devices_now("npu", played.environment)[1] == frozenset()
    lock = LockDirectory(tmp_path / "locks").try_lock("npu3")
    assert lock is not None
    inventory, leased = devices_now("npu", played.environment)
    assert leased == {"npu3"}
    assert len(inventory.npus) == 8
    lock.release()


def test_doctor_imports_nothing_heavy(tmp_path):
    program = (
        "import json, sys\n"
        "from pytest_qwenvl.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "heavy = {'torch', 'vllm', 'transformers', 'lm_eval', 'scipy', 'openai', 'requests'}\n"
        "print(json.dumps([code, sorted(heavy & set(sys.modules))]))\n"
    )
    arguments = ["doctor", f"--suite={SUITE}", "--backend=cpu", "--model=qwen3-vl-tiny", "--json"]
    arguments.append(f"--engine-python={stand_in_python(tmp_path / 'bin')}")
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    answer, _, last = done.stdout.rpartition("\n[")
    # The stand-in's distribution does not say which packages it needs.
    assert json.loads("[" + last) == [1, []]
    states = {it["requirement"]: it["state"] for it in json.loads(answer)["checks"]}
    assert states.pop("QVL-ENV-003") == "undecided"
    assert states["QVL-ENV-001"] == states["QVL-ENV-010"] == states["QVL-ENV-015"] == "ok"
