"""What ``explain`` prints, pasted into a real shell with a real engine."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
import requests

from pytest_qwenvl.cli import main
from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.cpu.install import installed_interpreter
from pytest_qwenvl.engines.ports import reserve_port
from pytest_qwenvl.engines.process import EngineProcess

pytestmark = pytest.mark.engine

CHECKOUT = Path(__file__).parents[2]
PATIENCE = 600.0


@pytest.fixture
def script(tmp_path, monkeypatch, capsys):
    python = os.environ.get("QWENVL_TEST_ENGINE_PYTHON") or installed_interpreter()
    if not python:
        pytest.skip("no engine environment: python -m pytest_qwenvl.engines.cpu.install builds it")
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("QWENVL_ENGINE_HOME", str(tmp_path / "home"))

    def write(*arguments: str) -> Path:
        assert main(["explain", "--backend=cpu", f"--engine-python={python}", *arguments]) == 0
        file = tmp_path / "pasted.sh"
        file.write_text(capsys.readouterr().out)
        return file

    return write


@pytest.fixture
def port():
    with reserve_port() as reserved:
        yield reserved.port


def test_pasted_it_serves(script, port, tmp_path):
    file = script("qwen3-vl-tiny/serve-1npu", f"--port={port}")
    process = EngineProcess.start(
        Launch(("sh", str(file))), log_path=tmp_path / "log", working_directory=tmp_path
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not healthy(port):
            assert process.wait_exit(0.5) is None, process.log_tail()
            assert time.monotonic() < deadline, process.log_tail()
        (listed,) = requests.get(f"http://127.0.0.1:{port}/v1/models", timeout=60).json()["data"]
        assert listed["id"] == "qwen3-vl-tiny"
        assert listed["max_model_len"] == 4096
    finally:
        process.stop(grace=10.0)


def healthy(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def test_pasted_it_is_a_python_with_an_llm(script, tmp_path):
    file = script("qwen3-vl-tiny/offline-1npu")
    typed = 'print("answered", len(llm.generate("Hello")[0].outputs[0].token_ids) > 0)\n'
    done = subprocess.run(
        ["sh", str(file)],
        input=typed,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=PATIENCE,
        check=False,
    )
    assert "answered True" in done.stdout, done.stdout + done.stderr
