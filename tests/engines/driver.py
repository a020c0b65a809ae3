"""Stands in for pytest in the tests of sudden ends: starts an engine with a family, then waits.

``python driver.py FOLDER ENDING`` prints the ids of all its processes as one line of JSON; then
``ENDING`` happens: ``wait`` (to be killed), ``return``, ``raise``, ``fork`` (wait, while a fork of
it holds every descriptor open), ``frozen`` (wait, with the guardian stopped).
"""

# ruff: noqa: T201
from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.process import EngineProcess
from tests.engines.support import wait_until

# One process of every kind that has to be found: a child, a grandchild, one in a session of its
# own, one whose parent is gone. All ignore SIGTERM.
FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
kind = sys.argv[1]
def start(kind, **options):
    subprocess.Popen([sys.executable, "-c", sys.orig_argv[2], kind], **options)
if kind == "engine":
    start("parent")
    start("leaf", start_new_session=True)
    if os.fork() == 0:
        start("leaf", start_new_session=True)
        os._exit(0)
    os.wait()
    print("engine is up", flush=True)
elif kind == "parent":
    start("leaf")
time.sleep(3600)
"""
FAMILY_SIZE = 5


def start_family(folder: Path) -> EngineProcess:
    process = EngineProcess.start(
        Launch((sys.executable, "-c", FAMILY, "engine")),
        log_path=folder / "engine.log",
        working_directory=folder,
    )
    wait_until(lambda: len(process.pids()) == FAMILY_SIZE, "the family's start")
    wait_until(lambda: "engine is up" in process.log_tail(), "the engine's first line")
    return process


def main(folder: Path, ending: str) -> None:
    process = start_family(folder)
    fork = 0
    if ending == "fork":
        fork = os.fork()
        if fork == 0:
            time.sleep(3600)
    family = process.pids()
    if ending == "frozen":
        os.kill(process._guardian.pid, signal.SIGSTOP)
    print(
        json.dumps({"family": family, "guardian": process._guardian.pid, "fork": fork}),
        flush=True,
    )
    if ending == "raise":
        raise RuntimeError("a test session that breaks")
    if ending != "return":
        time.sleep(3600)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
