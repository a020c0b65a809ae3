"""Child processes that never outlive pytest: engines, and programs that measure.

Each runs under a guardian (:mod:`pytest_qwenvl.engines.guardian`), in a session of its own. It is
gone, with all it started, when it is stopped, when it exits, when pytest ends in whatever way, and
when its guardian is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.container_state import LOOK_INTERVAL, container_is_gone
from pytest_qwenvl.engines.ended_alone import say_farewell
from pytest_qwenvl.engines.guardian_leavings import remove_scratch, remove_shared_memory
from pytest_qwenvl.engines.log_following import LogFollower, read_from
from pytest_qwenvl.engines.process_tree import KILL_TIMEOUT, TOKEN, alive, kill_all
from pytest_qwenvl.errors import EngineError, EngineStartError, MeasurementError

_GUARDIAN = Path(__file__).with_name("guardian.py")
_START_TIMEOUT = 60.0  # seconds for the guardian to say that the program was started
_TAIL_BYTES = 1 << 18
# Variables that name a folder for sockets: vLLM's is the one for temporary files, and what it puts
# there stays when it is killed.
_SCRATCH = ("VLLM_RPC_BASE_PATH",)
_FOLLOW_INTERVAL = 0.1  # seconds between looks at the log while waiting

_running: weakref.WeakSet[EngineProcess] = weakref.WeakSet()


class EngineProcess:
    """A running program with its log; made by :meth:`start`.

    Attributes:
        launch: what was started.
        pid: the program's process id.
        log_path: its standard output and error.
        exited: set within milliseconds of its exit, whatever the exit code.
    """

    def __init__(
        self, launch: Launch, log_path: Path, guardian: subprocess.Popen[bytes], control: int
    ) -> None:
        self.launch = launch
        self.log_path = log_path
        self.pid = 0
        self.exited = threading.Event()
        self._token = ""
        self._guardian = guardian
        self._control = control
        self._control_lock = threading.Lock()
        self._exit_status: int | None = None
        self._failure = ""
        self._lost_log_bytes = 0
        self._farewell_failure = ""
        self._scratch = ""
        self._shared: list[tuple[str, int]] = []
        self._started = threading.Event()
        self._gone = threading.Event()

    @classmethod
    def start(
        cls,
        launch: Launch,
        *,
        log_path: Path,
        working_directory: Path,
        descriptors: Sequence[int] = (),
        channel: int | None = None,
    ) -> EngineProcess:
        """Start a program and return once it runs.

        Args:
            launch: the command; its environment is added to this process's own.
            log_path: file for its output, appended to; its folder must exist.
            working_directory: an existing folder.
            descriptors: file descriptors the program inherits.
            channel: a file descriptor that becomes its standard input and output; only its
                standard error goes to the log then.

        Raises:
            EngineStartError: the program or its log could not be opened.
        """
        control_reader, control = os.pipe()
        status, status_writer = os.pipe()
        token = uuid.uuid4().hex
        ends = (control_reader, status_writer)
        passed = descriptors if channel is None else (*descriptors, channel)
        try:
            guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARDIAN), *map(str, ends)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(*ends, *passed),
                start_new_session=True,
            )
        except BaseException:
            os.close(control)
            os.close(status)
            raise
        finally:
            os.close(control_reader)
            os.close(status_writer)
        process = cls(launch, log_path, guardian, control)
        process._token = token
        threading.Thread(
            target=process._listen, args=(status,), name="qwenvl-engine-status", daemon=True
        ).start()
        order = {
            "argv": list(launch.argv),
            "environment": {**os.environ, **launch.environment, TOKEN: token},
            "directory": str(working_directory),
            "log": str(log_path),
            "descriptors": list(descriptors),
            "channel": channel,
            "farewell": list(launch.farewell),
            "scratch": list(_SCRATCH),
            "parent": os.getpid(),
        }
        try:
            process._say(order)
            if not process._started.wait(_START_TIMEOUT):
                raise EngineStartError(
                    f"{launch.argv[0]} was not started within {_START_TIMEOUT:.0f} s",
                    argv=launch.argv,
                )
            if process._failure:
                raise EngineStartError(
                    f"cannot start {launch.argv[0]}: {process._failure}", argv=launch.argv
                )
        except BaseException:
            process._hang_up()
            raise
        _running.add(process)
        return process

    @property
    def exit_status(self) -> int | None:
        """Exit code, negative for a signal's number, None while it runs."""
        return self._exit_status

    def poll(self) -> int | None:
        """The exit status so far; None while the program runs."""
        return self._exit_status

    def wait_exit(self, timeout: float | None = None) -> int | None:
        """Wait until the program exits, at most ``timeout`` seconds; its status or None."""
        self.exited.wait(timeout)
        return self._exit_status

    def pids(self) -> list[int]:
        """Ids of every process of this program that is alive, its guardian left out."""
        return alive(self._guardian.pid, self.pid, self._token)

    def stop(self, grace: float = 15.0) -> int | None:
        """End the program and everything it started; returns when nothing of it is left.

        Args:
            grace: seconds between asking (SIGTERM) and killing.

        Raises:
            EngineError: a process survived SIGKILL for a minute (it hangs inside the kernel), or
                what it ran outside of its process tree (a container) could not be ended.
        """
        if not self._gone.is_set():
            with contextlib.suppress(OSError):
                self._say({"stop": grace})
            # One that somebody had stopped would not hear of it.
            self._guardian.send_signal(signal.SIGCONT)
            if not self._gone.wait(grace + KILL_TIMEOUT):
                left = self.pids()
                raise EngineError(
                    f"{self.launch.argv[0]}: processes {left} are still there "
                    f"{KILL_TIMEOUT:.0f} s after SIGKILL; they hang in the kernel or a driver",
                    log_path=self.log_path,
                    log_tail=self.log_tail(),
                    argv=self.launch.argv,
                )
        self._hang_up()
        failure, self._farewell_failure = self._farewell_failure, ""
        if failure:
            raise EngineError(
                failure,
                log_path=self.log_path,
                log_tail=self.log_tail(),
                argv=self.launch.argv,
            )
        return self._exit_status

    def log_offset(self) -> int:
        """Size of the log now, in bytes, to be given to :meth:`log_since` later."""
        try:
            return self.log_path.stat().st_size
        except OSError:
            return 0

    def log_since(self, offset: int) -> str:
        """The log from ``offset`` (bytes) on."""
        return read_from(self.log_path, offset).decode(errors="replace")

    def log_tail(self, lines: int = 40) -> str:
        """The last ``lines`` of the log."""
        text = self.log_since(max(0, self.log_offset() - _TAIL_BYTES))
        tail = text.splitlines()[-lines:]
        if self._lost_log_bytes:
            tail.append(f"[{self._lost_log_bytes} bytes of this log could not be written]")
        return "\n".join(tail)

    def _say(self, message: object) -> None:
        with self._control_lock:
            if self._control < 0:
                return
            data = json.dumps(message).encode() + b"\n"
            while data:
                data = data[os.write(self._control, data) :]

    def _hang_up(self) -> None:
        with self._control_lock:
            if self._control >= 0:
                os.close(self._control)
                self._control = -1
        self._guardian.send_signal(signal.SIGCONT)
        self._guardian.wait()
        _running.discard(self)

    def _listen(self, status: int) -> None:
        gone = False
        with os.fdopen(status, "rb") as events:
            for line in events:
                event = json.loads(line)
                if event["event"] == "started":
                    self.pid = event["pid"]
                    self._started.set()
                elif event["event"] == "scratch":
                    self._scratch = event["folder"]
                elif event["event"] == "shared":
                    self._shared += [(name, inode) for name, inode in event["files"]]
                elif event["event"] == "failed":
                    self._failure = event["message"]
                elif event["event"] == "exited":
                    self._exit_status = event["status"]
                    self.exited.set()
                elif event["event"] == "gone":
                    self._lost_log_bytes = event["lost"]
                    self._farewell_failure = event["farewell"]
                    gone = True
        if not gone:
            self._bury()
        self.exited.set()
        self._gone.set()
        self._started.set()

    def _bury(self) -> None:
        # The guardian is dead: end what it left, and say so where a status is asked for.
        if not self.pid:
            self._failure = self._failure or "its guardian ended before the program was started"
        kill_all(self._guardian.pid, self.pid, self._token)
        remove_scratch(self._scratch)
        remove_shared_memory(self._shared)
        if self.pid and self.launch.farewell:
            self._farewell_failure = say_farewell(self.launch)
        if self._exit_status is None:
            self._exit_status = -9


def run_to_completion(
    launch: Launch,
    *,
    log_path: Path,
    timeout: float,
    working_directory: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> int:
    """Run a measuring program to its end and return its exit status.

    Args:
        launch: the command.
        log_path: file for its output.
        timeout: seconds.
        working_directory: an existing folder; that of the log by default.
        on_line: called with every line of output, while it runs.

    Raises:
        MeasurementError: it could not be started or did not end in time; it was ended.
    """
    begin = log_path.stat().st_size if log_path.exists() else 0
    try:
        process = EngineProcess.start(
            launch, log_path=log_path, working_directory=working_directory or log_path.parent
        )
    except EngineStartError as error:
        raise MeasurementError(f"{error}\ncommand: {launch.shell_line()}") from error
    follower = LogFollower(log_path, on_line, begin)
    deadline = time.monotonic() + timeout
    look_at = time.monotonic() + LOOK_INTERVAL
    try:
        while process.wait_exit(_FOLLOW_INTERVAL) is None:
            follower.look()
            if launch.farewell and time.monotonic() >= look_at:
                if container_is_gone(launch) and process.wait_exit(LOOK_INTERVAL) is None:
                    raise MeasurementError(
                        f"its container ended, and {launch.argv[0]} did not notice: "
                        f"{launch.shell_line()}\nlast lines of {log_path}:\n{process.log_tail()}"
                    )
                look_at = time.monotonic() + LOOK_INTERVAL
            if time.monotonic() >= deadline:
                process.stop(grace=2.0)
                raise MeasurementError(
                    f"did not end within {timeout:.0f} s and was ended: {launch.shell_line()}\n"
                    f"last lines of {log_path}:\n{process.log_tail()}"
                )
    finally:
        process.stop(grace=2.0)
        follower.look(last=True)
    status = process.exit_status
    return -9 if status is None else status


@atexit.register
def _stop_everything() -> None:
    for process in list(_running):
        with contextlib.suppress(EngineError, OSError):
            process.stop(grace=5.0)
