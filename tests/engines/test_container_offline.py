"""The offline LLM in a container of a real podman, talked to over standard input and output."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.container import container_launch
from pytest_qwenvl.engines.offline import OfflineLLM, start_offline
from pytest_qwenvl.engines.process import run_to_completion
from pytest_qwenvl.errors import EngineDiedError, EngineStartError, MeasurementError
from tests.engines.podman import IMAGE, left, need_podman, options, podman
from tests.engines.support import fake_environment, fake_interpreter, make_profile

Start = Callable[[str], OfflineLLM]


@pytest.fixture
def contain(tmp_path: Path) -> Callable[[Launch], Launch]:
    need_podman()

    def contain(launch: Launch) -> Launch:
        return container_launch(
            launch,
            runtime="podman",
            image=IMAGE,
            name=f"qwenvl-test-{uuid.uuid4().hex[:12]}",
            backend="cpu",
            generation="cpu",
            devices=(),
            run_directory=tmp_path,
            working_directory=tmp_path,
            options=options(),
            patience=20.0,
        )

    return contain


@pytest.fixture
def start(tmp_path: Path, contain: Callable[[Launch], Launch]) -> Iterator[Start]:
    started: list[OfflineLLM] = []

    def start(behaviour: str = "") -> OfflineLLM:
        profile = make_profile()
        llm = start_offline(
            profile,
            profile.deployment("offline-1npu"),
            interpreter=fake_interpreter(),
            weights="Qwen/Tiny",
            backend="cpu",
            devices=(0,),
            run_directory=tmp_path,
            extra_environment=fake_environment(behaviour),
            contain=contain,
        )
        started.append(llm)
        return llm

    yield start
    for llm in started:
        llm.stop()
    assert left(tmp_path) == []


def ask(llm: OfflineLLM, text: str) -> str:
    (answer,) = llm.generate([[{"role": "user", "content": text}]], max_tokens=4)
    return answer.text


def test_questions_and_answers(start):
    llm = start("")
    assert llm.launch.argv[:2] == ("podman", "run")
    assert ask(llm, "hello") == "user:hello||4"
    # More than any pipe between here and there holds at once.
    long = "x" * (1 << 20)
    assert ask(llm, long) == f"user:{long}||4"
    assert llm.process.poll() is None
    llm.stop()
    assert llm.process.exit_status == 0, "it ended by itself"


def test_one_that_dies(start):
    llm = start("")
    (first,) = [pid for pid in llm.process.pids() if "container_init" in command(pid)]
    os.kill(first, 9)
    with pytest.raises(EngineDiedError, match="is gone: it ended with exit code 137"):
        ask(llm, "hello")


def test_one_whose_monitor_is_killed(start):
    llm = start("")
    (found,) = json.loads(podman("inspect", llm.launch.farewell[-1]).stdout)
    os.kill(int(Path(found["ConmonPidFile"]).read_text()), 9)
    with pytest.raises(EngineDiedError, match="is gone: its container ended"):
        ask(llm, "hello")


def test_a_measuring_program_whose_monitor_is_killed(contain, tmp_path):
    code = "import time; print('measuring', flush=True); time.sleep(3600)"
    launch = contain(Launch((sys.executable, "-c", code)))

    def kill_monitor(line: str) -> None:
        if line == "measuring":
            (found,) = json.loads(podman("inspect", launch.farewell[-1]).stdout)
            os.kill(int(Path(found["ConmonPidFile"]).read_text()), 9)

    said = ""
    status: int | None = None
    try:
        status = run_to_completion(
            launch, log_path=tmp_path / "log", timeout=120, on_line=kill_monitor
        )
    except MeasurementError as problem:
        said = str(problem)
    # Podman itself may notice, or not.
    assert status == 127 or "its container ended, and podman did not notice" in said
    assert left(tmp_path) == []


def test_one_that_does_not_start(start):
    with pytest.raises(EngineStartError, match="ended with exit code 1 before it was ready"):
        start("exit:1")


def command(pid: int) -> str:
    line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return "" if line.startswith(("podman", "/usr/bin/conmon")) else line
