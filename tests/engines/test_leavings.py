"""What an engine made in ``/dev/shm`` and in the folder of its sockets goes with it."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.process import EngineProcess
from tests.engines.support import is_alive, wait_until

ENGINE = """
import os, signal, sys, time
from multiprocessing import resource_tracker, shared_memory
signal.signal(signal.SIGTERM, signal.SIG_IGN)
memory = shared_memory.SharedMemory(create=True, size=4096)
resource_tracker.unregister(memory._name, "shared_memory")
place = os.environ["VLLM_RPC_BASE_PATH"]
open(os.path.join(place, "socket"), "w").close()
print(f"keeps /dev/shm/{memory.name} {place}", flush=True)
time.sleep(3600)
"""


def begin(folder: Path) -> tuple[EngineProcess, list[Path]]:
    process = EngineProcess.start(
        Launch((sys.executable, "-c", ENGINE)),
        log_path=folder / "engine.log",
        working_directory=folder,
    )
    wait_until(lambda: "keeps" in process.log_tail(), "the engine's first line")
    found = re.search(r"keeps (\S+) (\S+)", process.log_tail())
    assert found
    kept = [Path(found[1]), Path(found[2])]
    assert all(path.exists() for path in kept)
    return process, kept


@pytest.mark.parametrize("ending", ["stop", "kill", "guardian"])
def test_nothing_of_an_engine_that_was_killed_stays(tmp_path, ending):
    process, kept = begin(tmp_path)
    if ending == "guardian":
        # What it knew it had told by then, or nobody could know it.
        wait_until(lambda: bool(process._shared), "word of the shared memory")
        os.kill(process._guardian.pid, signal.SIGKILL)
    elif ending == "kill":
        os.kill(process.pid, signal.SIGKILL)
    process.stop(grace=0.1)
    assert [path for path in kept if path.exists()] == []


def test_shared_memory_of_others_stays(tmp_path):
    process, _ = begin(tmp_path)
    other = Path(f"/dev/shm/of-another-{os.getpid()}")
    other.write_bytes(b"mine")
    try:
        process.stop(grace=0.1)
        assert other.read_bytes() == b"mine"
    finally:
        other.unlink()


def test_a_folder_of_the_callers_own_is_used_and_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_RPC_BASE_PATH", str(tmp_path))
    process, kept = begin(tmp_path)
    assert kept[1] == tmp_path
    process.stop(grace=0.1)
    assert (tmp_path / "socket").exists()


def test_a_guardian_that_was_stopped_ends_its_engine_when_asked(tmp_path):
    process, kept = begin(tmp_path)
    os.kill(process._guardian.pid, signal.SIGSTOP)
    process.stop(grace=0.1)
    assert not is_alive(process.pid)
    assert [path for path in kept if path.exists()] == []
