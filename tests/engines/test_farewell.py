"""The command that ends what a program runs outside of its own process tree."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.process import EngineProcess, run_to_completion
from pytest_qwenvl.errors import EngineError
from tests.engines.support import wait_until

# Says whether the program it belongs to was still there.
FAREWELL = """
import os, sys
pid = open(sys.argv[1]).read()
alive = os.path.exists(f"/proc/{pid}") and "Z" not in open(f"/proc/{pid}/stat").read().split()
open(sys.argv[2], "a").write("alive" if alive else "gone")
"""
PROGRAM = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); "


def launch(folder: Path, code: str, farewell: str = FAREWELL) -> Launch:
    pid, said = str(folder / "pid"), str(folder / "said")
    return Launch(
        (sys.executable, "-c", PROGRAM + code, pid),
        farewell=(sys.executable, "-c", farewell, pid, said),
    )


def start(folder: Path, code: str, farewell: str = FAREWELL, **options: int) -> EngineProcess:
    process = EngineProcess.start(
        launch(folder, code, farewell),
        log_path=folder / "engine.log",
        working_directory=folder,
        **options,
    )
    pid = folder / "pid"
    wait_until(
        lambda: (pid.exists() and pid.read_text()) or process.poll() is not None, "the start"
    )
    return process


def said(folder: Path) -> str:
    path = folder / "said"
    return path.read_text() if path.exists() else ""


def test_after_an_exit(tmp_path):
    assert (
        run_to_completion(launch(tmp_path, "sys.exit(3)"), log_path=tmp_path / "l", timeout=60) == 3
    )
    assert said(tmp_path) == "gone"


@pytest.mark.parametrize("ending", ["stop", "SIGKILL of the program", "SIGKILL of the guardian"])
def test_after_every_end(tmp_path, ending):
    process = start(tmp_path, "time.sleep(3600)")
    assert said(tmp_path) == ""
    if ending == "SIGKILL of the program":
        os.kill(process.pid, signal.SIGKILL)
    elif ending == "SIGKILL of the guardian":
        os.kill(process._guardian.pid, signal.SIGKILL)
        process.wait_exit(60)
    process.stop(grace=5.0)
    assert said(tmp_path) == "gone"
    process.stop()
    assert said(tmp_path) == "gone", "said twice"


def test_after_one_that_will_not_end(tmp_path):
    process = start(tmp_path, "import signal; signal.signal(15, signal.SIG_IGN); time.sleep(3600)")
    process.stop(grace=0.2)
    assert said(tmp_path) == "gone"


def test_after_sigkill_of_pytest(tmp_path):
    driver = f"""
    import sys, time
    sys.path.insert(0, {str(Path(__file__).parents[2])!r})
    from pathlib import Path
    from tests.engines.test_farewell import start
    start(Path({str(tmp_path)!r}), "time.sleep(3600)")
    print("up", flush=True)
    time.sleep(3600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(driver)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert said(tmp_path) == ""
        process.kill()
    wait_until(lambda: said(tmp_path) == "gone", "the farewell")


@pytest.mark.parametrize("guardian", ["alive", "killed"])
def test_what_could_not_be_ended_is_told_once(tmp_path, guardian):
    process = start(tmp_path, "time.sleep(3600)", "import sys; sys.exit('box X is still there')")
    if guardian == "killed":
        os.kill(process._guardian.pid, signal.SIGKILL)
        process.wait_exit(60)
    with pytest.raises(EngineError, match="box X is still there"):
        process.stop(grace=1.0)
    process.stop()


def test_a_farewell_that_cannot_be_run(tmp_path):
    process = EngineProcess.start(
        Launch((sys.executable, "-c", "pass"), farewell=(str(tmp_path / "absent"),)),
        log_path=tmp_path / "log",
        working_directory=tmp_path,
    )
    with pytest.raises(EngineError, match="absent: No such file"):
        process.stop()


def test_standard_input_stays_open(tmp_path):
    code = """import select
readable = select.select([0], [], [], 0.2)[0]
print("closed" if readable else "open", flush=True)
time.sleep(3600)"""
    process = start(tmp_path, code)
    wait_until(lambda: process.log_offset() > 0, "the look at standard input")
    assert process.log_tail() == "open"
    process.stop(grace=1.0)


def test_without_a_farewell_nothing_comes_from_standard_input(tmp_path):
    process = EngineProcess.start(
        Launch((sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))")),
        log_path=tmp_path / "log",
        working_directory=tmp_path,
    )
    assert process.wait_exit(60) == 0
    process.stop()
    assert process.log_tail() == "''"


def test_channel(tmp_path):
    ours, theirs = socket.socketpair()
    with ours:
        code = "print('to the log', file=sys.stderr); print(input().upper())"
        process = start(tmp_path, code, channel=theirs.fileno())
        theirs.close()
        ours.sendall(b"hello\n")
        assert ours.makefile().read() == "HELLO\n"
        process.wait_exit(60)
        process.stop()
    assert process.log_tail() == "to the log"
