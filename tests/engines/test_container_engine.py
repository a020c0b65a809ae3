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


@pytest.fixture
def contained(interpreter: Path) -> list[str]:
    """What makes a run of the suite one in containers of this host's engine."""
    need_podman()
    places = [interpreter.parents[1], interpreter.resolve().parents[1]]
    return [
        *("--backend=cpu", "--npus=1", "-m", "serve", "-k", "1npu"),
        *("--launcher=container", "--container-runtime=podman", f"--image={IMAGE}"),
        f"--engine-python={interpreter}",
        *(f"--container-option={option}" for option in options(*places)),
    ]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "conformance", "-p", "no:cacheprovider", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_the_serve_group_in_containers(contained, tmp_path):
    report = tmp_path / "report"
    done = run(*contained, "--model=qwen3-vl-tiny", f"--conformance-report={report}")
    content = json.loads((report / "report.json").read_text())
    assert done.returncode == 0, done.stdout
    assert "arguments were not checked" not in done.stdout
    assert content["verdict"] == "CONFORMANT", done.stdout
    engines = content["engines"]
    assert [engine["kind"] for engine in engines].count("serve") >= 1
    assert all(engine["argv"][:2] == ["podman", "run"] for engine in engines)
    assert engines[0]["versions"]["vllm"]
    assert "image" in engines[0]["versions"]
    assert not left(report)


def test_an_argument_that_the_engine_in_the_image_does_not_have(contained, tmp_path):
    weights = CHECKOUT / "fixtures" / "checkpoints" / "qwen3-vl-tiny"
    profile = tmp_path / "profiles" / "ours.toml"
    profile.parent.mkdir()
    profile.write_text(
        f"""overlay = "qwen3-vl-tiny"
[weights]
path = {json.dumps(str(weights))}
[engine.cpu.arguments]
max_num_seq = 4
"""
    )
    report = tmp_path / "report"
    done = run(
        *contained,
        *("--model=qwen3-vl-tiny", f"--profiles={profile.parent}"),
        f"--conformance-report={report}",
    )
    said = done.stdout + done.stderr
    assert done.returncode == 4, said
    assert "`vllm serve` has no --max-num-seq; did you mean 'max_num_seqs'?" in said
    assert "Nothing was started." in said
    assert not left(report)
