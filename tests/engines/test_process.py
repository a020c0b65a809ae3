from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.log_following import LogFollower
from pytest_qwenvl.engines.process import EngineProcess, run_to_completion
from pytest_qwenvl.errors import EngineStartError, MeasurementError
from tests.engines.driver import start_family
from tests.engines.support import is_alive


def python(code: str, **environment: str) -> Launch:
    return Launch((sys.executable, "-u", "-c", code), environment)


def start(folder: Path, launch: Launch) -> EngineProcess:
    return EngineProcess.start(launch, log_path=folder / "engine.log", working_directory=folder)


@pytest.mark.parametrize("code", [0, 1, 77])
def test_exit_is_told_with_its_code(tmp_path, code):
    process = start(tmp_path, python(f"print('bye'); raise SystemExit({code})"))
    assert process.wait_exit(60) == code
    assert process.stop() == process.poll() == process.exit_status == code
    assert process.log_tail() == "bye"


def test_whoever_waits_is_woken_by_the_exit(tmp_path):
    process = start(tmp_path, python("import time; time.sleep(3600)"))
    assert process.poll() is None
    waiter = threading.Thread(target=process.exited.wait)
    waiter.start()
    process.stop(grace=0.0)
    waiter.join(60)
    assert not waiter.is_alive()


def test_death_by_signal(tmp_path):
    process = start(tmp_path, python("import os; os.kill(os.getpid(), 11)"))
    assert process.wait_exit(60) == -11
    process.stop()


def test_stop_asks_first(tmp_path):
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('asked'), sys.exit(5)))\n"
        "print('up')\n"
        "time.sleep(3600)"
    )
    process = start(tmp_path, python(code))
    while "up" not in process.log_tail():
        assert process.wait_exit(0.02) is None
    assert process.stop(grace=60) == 5
    assert process.log_tail() == "up\nasked"


def test_stop_ends_a_family_that_ignores_it(tmp_path):
    process = start_family(tmp_path)
    family = process.pids()
    assert process.stop(grace=0.1) == -9
    assert not [pid for pid in family if is_alive(pid)]
    assert not is_alive(process._guardian.pid)
    assert process.pids() == []


def test_stop_twice(tmp_path):
    process = start(tmp_path, python("pass"))
    assert process.stop() == process.stop()


def test_environment_is_added_to_the_callers(tmp_path, monkeypatch):
    monkeypatch.setenv("FROM_CALLER", "kept")
    monkeypatch.setenv("OVERRIDDEN", "old")
    code = "import os; print(*map(os.environ.get, ['FROM_CALLER', 'OVERRIDDEN', 'ADDED']))"
    process = start(tmp_path, python(code, OVERRIDDEN="new", ADDED="too"))
    process.wait_exit(60)
    process.stop()
    assert process.log_tail() == "kept new too"


def test_both_outputs_and_the_folder(tmp_path):
    process = start(
        tmp_path,
        python("import os, sys; print(os.getcwd()); print('to stderr', file=sys.stderr)"),
    )
    process.wait_exit(60)
    process.stop()
    assert process.log_tail().splitlines() == [str(tmp_path), "to stderr"]


def test_log_tail_and_since(tmp_path):
    process = start(tmp_path, python("print(*range(100), sep='\\n'); input()"))
    process.wait_exit(60)
    process.stop()
    assert "98\n99" in process.log_tail()
    assert process.log_tail(lines=1).startswith("EOFError")
    assert process.log_since(process.log_offset()) == ""
    assert process.log_since(2).startswith("1\n2\n")


def test_standard_input_is_empty_not_ours(tmp_path):
    process = start(tmp_path, python("import sys; print(repr(sys.stdin.read()))"))
    process.wait_exit(60)
    process.stop()
    assert process.log_tail() == "''"


def test_program_that_is_not_there(tmp_path):
    with pytest.raises(EngineStartError, match=r"cannot start /nonexistent/python.*No such file"):
        start(tmp_path, Launch(("/nonexistent/python",)))


def test_log_that_cannot_be_opened(tmp_path):
    with pytest.raises(EngineStartError, match=r"engine\.log"):
        start(tmp_path / "absent", python("pass"))


def test_full_disk_loses_lines_not_the_engine(tmp_path):
    # The limit on a file's size acts as a full disk does, on the log's writer.
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
from pathlib import Path
from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.process import EngineProcess
folder = Path({str(tmp_path)!r})
process = EngineProcess.start(
    Launch((sys.executable, "-c", "print('x' * 1000000); raise SystemExit(42)")),
    log_path=folder / "engine.log", working_directory=folder)
print(process.wait_exit(60))
process.stop()
print(process.log_tail().splitlines()[-1])
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    status, last = done.stdout.splitlines()
    assert status == "42"
    assert last == f"[{1000001 - 65536} bytes of this log could not be written]"
    assert (tmp_path / "engine.log").stat().st_size == 65536


def test_run_to_completion_hands_over_every_line(tmp_path):
    lines: list[str] = []
    status = run_to_completion(
        python("print('one'); print('two\\rthree'); print('last', end=''); raise SystemExit(3)"),
        log_path=tmp_path / "bench.log",
        timeout=60,
        on_line=lines.append,
    )
    assert status == 3
    assert lines == ["one", "two", "three", "last"]


def test_run_to_completion_ends_what_takes_too_long(tmp_path):
    code = "import os, time; print('pid', os.getpid()); time.sleep(3600)"
    with pytest.raises(MeasurementError, match=r"did not end within 1 s") as caught:
        run_to_completion(python(code), log_path=tmp_path / "bench.log", timeout=1.0)
    log = (tmp_path / "bench.log").read_text()
    if log:  # a loaded machine may not even have started the program
        assert log.strip() in str(caught.value)
        assert not is_alive(int(log.split()[1]))


def test_run_to_completion_of_nothing(tmp_path):
    with pytest.raises(MeasurementError, match="cannot start /nonexistent"):
        run_to_completion(Launch(("/nonexistent",)), log_path=tmp_path / "log", timeout=5)


def test_an_interrupt_while_waiting_ends_the_program(tmp_path):
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt(line)

    code = "import os, time; print(os.getpid()); time.sleep(3600)"
    with pytest.raises(KeyboardInterrupt) as caught:
        run_to_completion(
            python(code), log_path=tmp_path / "bench.log", timeout=60, on_line=interrupt
        )
    assert not is_alive(int(str(caught.value)))


def test_follower_gives_whole_lines_once(tmp_path):
    log = tmp_path / "log"
    seen: list[str] = []
    follower = LogFollower(log, seen.append)
    follower.look()
    log.write_text("one\ntw")
    follower.look()
    assert seen == ["one"]
    with log.open("a") as file:
        file.write("o\nthree")
    follower.look()
    follower.look()
    assert seen == ["one", "two"]
    follower.look(last=True)
    assert seen == ["one", "two", "three"]
