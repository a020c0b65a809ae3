"""Long steps are told: how much is done and left, and by workers to their controller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_qwenvl.live import progress_of
from pytest_qwenvl.live_workers import RelayedStep, WorkerDisplay, steps_in
from pytest_qwenvl.report.progress import StepProgress
from tests.plugin.suite import Suite


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("45%|####    | 54/120 [00:12<00:15, 4.4it/s]", "54 of 120 done, 66 left (00:15)"),
        (
            "Running generate_until requests:  45%|█ | 54/120 [1:00:12<2:00:15, 4.4it/s]",
            "Running generate_until requests: 54 of 120 done, 66 left (2:00:15)",
        ),
        ("  0%|          | 0/60 [00:00<?, ?it/s]", "0 of 60 done, 60 left"),
        (
            "1%|| 1/60 [00:00<00:09]\r2%|| 2/60 [00:01<00:08, 1it/s]",
            "2 of 60 done, 58 left (00:08)",
        ),
        ("INFO 50% of memory | used 3/4", None),
        ("", None),
    ],
)
def test_a_bar_says_what_is_done_and_left(line: str, told: str | None) -> None:
    progress = progress_of(line)
    assert (None if progress is None else str(progress)) == told


def test_a_worker_tells_its_steps_while_they_run(tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    now = time.time() + 5
    with RelayedStep("loading", folder, "gw1") as outer:
        assert steps_in(folder, now) == ["gw1 loading (5 s)"]
        time.sleep(0.6)
        outer.update("12 of\n 60 done")
        assert steps_in(folder, now)[0].endswith("12 of 60 done")
        with RelayedStep("another", folder, "gw0"):
            assert [line.split()[0] for line in steps_in(folder, now)] == ["gw0", "gw1"]
        assert len(steps_in(folder, now)) == 1
    assert steps_in(folder, now) == []


def test_what_a_dead_worker_left_says_nothing(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    state = {"worker": "gw0", "title": "loading", "began": 0.0, "text": ""}
    (tmp_path / "gw0-1.json").write_text(json.dumps({**state, "pid": ended.pid}))
    (tmp_path / "gw0-2.json").write_text("{")
    (tmp_path / "gw0-3.json").write_text("[]")
    assert steps_in(tmp_path, 1.0) == []
    (tmp_path / "gw0-4.json").write_text(json.dumps({**state, "pid": os.getpid()}))
    assert steps_in(tmp_path, 1.0) == ["gw0 loading (1 s)"]


def test_the_controller_shows_what_workers_are_at_and_cleans_up(tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    written: list[str] = []
    opened: list[str] = []

    def open_step(title: str) -> StepProgress:
        opened.append(title)
        return StepProgress(title, written.append, is_terminal=True, columns=lambda: 200)

    with WorkerDisplay(folder, open_step) as display:
        display.look()
        assert opened == []
        with RelayedStep("load text", folder, "gw0"), RelayedStep("load image", folder, "gw1"):
            display.look()
            assert opened == ["workers"]
            deadline = time.monotonic() + 10
            while "gw1 load image" not in "".join(written) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert "gw0 load text (0 s) | gw1 load image (0 s)" in "".join(written).replace(
                "(1 s)", "(0 s)"
            )
        display.look()
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_ends_no_step(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with RelayedStep("loading", blocked / "steps", "gw0") as step:
        step.update("on its way")


def test_steps_of_workers_reach_the_controller(suite: Suite) -> None:
    suite.profile("alpha", "hangs")
    running = suite.start("-n2")
    try:
        running.wait_for("alpha/serve-1npu/server.log", "Starting to load")
        folder = suite.report / "steps"
        lines = steps_in(folder, time.time())
        assert any("alpha/serve-1npu: starting" in line for line in lines), lines
        assert lines[0].startswith("gw")
        running.interrupt()
        assert not folder.exists()
    finally:
        running.end()


def test_a_step_that_cannot_be_told_leaves_no_file(tmp_path: Path, monkeypatch) -> None:
    def full(path: Path, *_: object, **__: object) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    with RelayedStep("alpha/serve-1npu: starting", tmp_path, "gw0") as step:
        monkeypatch.setattr(Path, "write_text", full)
        step._tell("loading")
        assert [it.suffix for it in tmp_path.iterdir()] == [".json"]
