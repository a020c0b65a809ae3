"""The two programs of a container: its first process, and what removes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_qwenvl.engines import container_farewell, container_init
from pytest_qwenvl.engines.container_init import give_back, with_preload
from tests.engines.support import is_alive, wait_until

INIT = container_init.__file__


def start(*command: str, patience: float = 0.0, folder: str = "/nonexistent") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, INIT, str(patience), folder, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-u", "-c", code)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise SystemExit(0)", 0),
        ("raise SystemExit(3)", 3),
        ("import os; os.kill(os.getpid(), 9)", 137),
    ],
)
def test_exits_as_its_command(code, status):
    with start(*python(code)) as process:
        assert process.wait(60) == status


def test_a_command_that_is_not_there():
    with start("/absent/python") as process:
        assert process.wait(60) == 127


def test_the_end_of_standard_input_ends_it():
    with start(*python("import time; print('up'); time.sleep(3600)")) as process:
        assert process.stdout.readline() == "up\n"
        process.stdin.close()
        assert process.wait(60) == 128 + signal.SIGTERM


def test_one_that_ignores_the_end_is_killed():
    code = "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid()); "
    with start(*python(code + "time.sleep(3600)")) as process:
        pid = int(process.stdout.readline())
        process.stdin.close()
        assert process.wait(60) == 128 + signal.SIGKILL
        assert not is_alive(pid)


def test_patience_lets_it_end_by_itself():
    code = "import sys; print('up'); sys.stdin.read(); sys.exit(7)"
    with start(*python(code), patience=60.0) as process:
        assert process.stdout.readline() == "up\n"
        process.stdin.close()
        assert process.wait(60) == 7


def test_standard_input_is_the_commands():
    with start(*python("print(input().upper())")) as process:
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == "HELLO\n"
        assert process.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_handed_on(number):
    code = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(9))\n"
        "print('up')\n"
        "time.sleep(3600)"
    )
    with start(*python(code)) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.wait(60) == 9


def test_a_signal_that_comes_before_the_command_is_started(monkeypatch):
    started = subprocess.Popen

    def slowly(*arguments: object, **options: object) -> subprocess.Popen:
        os.kill(os.getpid(), signal.SIGTERM)
        return started(*arguments, **options)

    monkeypatch.setattr(container_init.subprocess, "Popen", slowly)
    before = {number: signal.getsignal(number) for number in (1, 2, 3, 15, signal.SIGCHLD)}
    wakeup = signal.set_wakeup_fd(-1)
    try:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        assert container_init.FirstProcess(60.0).run(command, dict(os.environ)) == 128 + 15
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_preload_of_what_exists(tmp_path):
    there = tmp_path / "x.so"
    there.touch()
    wanted = {"QWENVL_PRELOAD": f"/absent/y.so:{there}", "A": "1"}
    assert with_preload(wanted) == {"A": "1", "LD_PRELOAD": str(there)}
    assert with_preload({**wanted, "LD_PRELOAD": "/image/z.so"})["LD_PRELOAD"] == (
        f"{there}:/image/z.so"
    )
    assert with_preload({"QWENVL_PRELOAD": "/absent/y.so"}) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can own what another user's folder holds")
def test_what_root_wrote_is_given_to_the_owner_of_the_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "log").touch()
    (tmp_path / "a" / "link").symlink_to("/etc/passwd")
    os.chown(tmp_path, 12345, 23456)
    give_back(str(tmp_path))
    for path in (tmp_path / "a", tmp_path / "a" / "log", tmp_path / "a" / "link"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (12345, 23456)
    assert Path("/etc/passwd").stat().st_uid == 0


def runtime(folder: Path, rm: str, ps: str) -> str:
    """A container engine whose ``rm`` and ``ps`` are these lines of shell."""
    path = folder / "engine"
    path.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/calls\ncase $1 in rm) {rm};; ps) {ps};; esac\n'
    )
    path.chmod(0o755)
    return str(path)


def test_farewell_to_one_that_is_there(tmp_path):
    engine = runtime(tmp_path, f"touch {tmp_path}/gone", f"test -e {tmp_path}/gone || echo abc")
    assert container_farewell.main(engine, "box") == 0
    assert (tmp_path / "calls").read_text().splitlines() == [
        "kill box",
        "rm --force box",
        "ps --all --quiet --filter name=box",
    ]


def test_farewell_to_one_that_somebody_else_removes(tmp_path):
    # Removal is already in progress; it is listed a little longer.
    seen = f"test -e {tmp_path}/seen || echo abc; touch {tmp_path}/seen"
    assert container_farewell.main(runtime(tmp_path, "exit 1", seen), "box") == 0


def test_farewell_to_one_that_stays(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(container_farewell, "_LIMIT", 0.5)
    engine = runtime(tmp_path, "echo 'device is busy' >&2; exit 1", "echo abc")
    assert container_farewell.main(engine, "box") == 1
    said = capsys.readouterr().err
    assert "box could not be removed and may still hold its devices: device is busy" in said
    assert f"{engine} rm --force box" in said


def test_farewell_without_a_daemon(tmp_path, capsys):
    engine = runtime(tmp_path, "exit 1", "echo 'cannot connect' >&2; exit 1")
    assert container_farewell.main(engine, "box") == 1
    assert "cannot connect" in capsys.readouterr().err


def test_what_the_command_leaves_behind_is_not_waited_for():
    code = "import subprocess, sys, time; subprocess.Popen(['sleep', '0.2']); print('up')"
    with start(*python(code)) as process:
        assert process.stdout.readline() == "up\n"
        wait_until(lambda: process.poll() is not None, "the exit")
        assert process.returncode == 0
