"""Real vLLM in a real container: the suite's own tests of a server and of the offline LLM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_qwenvl.engines.cpu.install import installed_interpreter
from tests.engines.podman import CHECKOUT, IMAGE, left, need_podman, options

pytestmark = pytest.mark.engine


@pytest.fixture
def interpreter() -> Path:
    path = os.environ.get("QWENVL_TEST_ENGINE_PYTHON") or installed_interpreter()
    if not path:
        pytest.skip("no engine environment: python -m pytest_qwenvl.engines.cpu.install builds it")
    return Path(path)


def test_the_serve_group_in_containers(interpreter, tmp_path):
    need_podman()
    places = [interpreter.parents[1], interpreter.resolve().parents[1]]
    report = tmp_path / "report"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "conformance", "-p", "no:cacheprovider"),
            *("-m", "serve", "-k", "1npu"),
            *("--model=qwen3-vl-tiny", "--backend=cpu", "--npus=1"),
            *("--launcher=container", "--container-runtime=podman", f"--image={IMAGE}"),
            f"--engine-python={interpreter}",
            *(f"--container-option={option}" for option in options(*places)),
            f"--conformance-report={report}",
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    content = json.loads((report / "report.json").read_text())
    assert done.returncode == 0, done.stdout
    assert content["verdict"] == "CONFORMANT", done.stdout
    engines = content["engines"]
    assert [engine["kind"] for engine in engines].count("serve") >= 1
    assert all(engine["argv"][:2] == ["podman", "run"] for engine in engines)
    assert engines[0]["versions"]["vllm"]
    assert "image" in engines[0]["versions"]
    assert not left(report)
