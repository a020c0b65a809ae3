"""The parent of an engine: keeps its log and kills its whole tree when pytest is gone.

A program, not a module: ``python -I -S guardian.py CONTROL STATUS`` with two inherited pipe ends.
It and what it imports use the standard library only. It is a child subreaper, so every process that
descends from the engine, daemonised or not, comes back to it and can be found. It reads one line of
JSON (what to run) from CONTROL and writes one line of JSON per event to STATUS::

    {"event": "scratch", "folder": "/tmp/qwenvl-x"}     {"event": "shared", "files": [["x", 9]]}
    {"event": "started", "pid": 17}                     {"event": "failed", "message": "..."}
    {"event": "exited", "status": 0}                    {"event": "gone", "lost": 0, "farewell": ""}

``scratch`` and ``shared`` name what has to be removed should the guardian not come to it.

The end of CONTROL, the death of the process that started it, SIGTERM and a ``stop`` line all mean:
end everything. The engine's output goes through a pipe that is read here, so that a full disk
costs lines of the log and neither stops nor breaks the engine.

It is woken when its parent dies, since a guardian that somebody had stopped would keep the engine.

An engine in a container is not below this process: a farewell command ends it, once the client
that stood for it here is over. ``gone`` says what that command complained of, if it failed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

# Run as a program, isolated: behind the standard library, so that nothing of it can be hidden.
sys.path.append(os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

from pytest_qwenvl.engines.guardian_family import descendants, send
from pytest_qwenvl.engines.guardian_farewell import Farewell
from pytest_qwenvl.engines.guardian_leavings import (
    SharedMemory,
    make_scratch,
    remove_scratch,
    remove_shared_memory,
)
from pytest_qwenvl.engines.guardian_log import Log

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STRAGGLER_GRACE = 2.0  # seconds between SIGTERM and SIGKILL for what the engine left behind
_ORPHAN_GRACE = 5.0  # seconds for the engine to end by itself once nobody waits for it
_DRAIN_LIMIT = 1 << 22  # bytes of log read at one go before other events are looked at

_libc = ctypes.CDLL(None, use_errno=True)


class Guardian:
    """Runs one engine from its start to the end of its last process."""

    def __init__(self, control: int, status: int) -> None:
        self._control = control
        self._status = status
        self._buffer = b""
        self._engine = 0
        self._engine_status: int | None = None
        self._stopping = False
        self._kill_at: float | None = None
        self._stragglers_told = False
        self._listening = True
        self._output = -1
        self._farewell = Farewell([], {})
        self._scratch = ""
        self._shared: SharedMemory | None = None

    def run(self) -> int:
        """Start what CONTROL says and stay until nothing of it is left."""
        order = self._read_order()
        if order is None:
            return 0
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)
        wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._stop(_ORPHAN_GRACE))
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT):
            signal.signal(ignored, signal.SIG_IGN)
        try:
            self._log = Log(order["log"])
            self._farewell = Farewell(order["farewell"], order["environment"])
            self._make_room(order)
            self._output = self._start(order)
        except (OSError, ValueError) as error:
            remove_scratch(self._scratch)
            self._tell(event="failed", message=str(error))
            return 127
        self._tell(event="started", pid=self._engine)
        return self._watch(wake, _watch_process(order["parent"]))

    def _read_order(self) -> dict[str, Any] | None:
        while b"\n" not in self._buffer:
            chunk = os.read(self._control, 1 << 16)
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        order: dict[str, Any] = json.loads(line)
        return order

    def _make_room(self, order: dict[str, Any]) -> None:
        if order["farewell"]:
            return  # a container takes what is in it along
        self._shared = SharedMemory()
        names = [name for name in order["scratch"] if name not in order["environment"]]
        if names:
            self._scratch = make_scratch()
            self._tell(event="scratch", folder=self._scratch)
            order["environment"].update(dict.fromkeys(names, self._scratch))

    def _start(self, order: dict[str, Any]) -> int:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        channel: int | None = order["channel"]
        standard_input = subprocess.DEVNULL if channel is None else channel
        if order["farewell"] and channel is None:
            # The other end stays open here, unused, until this process is gone.
            standard_input, _ = os.pipe2(os.O_CLOEXEC)
        me = os.getpid()

        def die_with_guardian() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != me:
                os._exit(127)
            # An ignored signal stays ignored in a new program, and Python would not notice Ctrl-C.
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)

        process = subprocess.Popen(
            order["argv"],
            env=order["environment"],
            cwd=order["directory"],
            stdin=standard_input,
            stdout=writer if channel is None else channel,
            stderr=writer,
            pass_fds=order["descriptors"],
            start_new_session=True,
            preexec_fn=die_with_guardian,
        )
        ours = (writer, standard_input, *order["descriptors"])
        for descriptor in ours:
            if descriptor >= 0:
                os.close(descriptor)
        self._engine = process.pid
        # Children are reaped below, together with adopted ones; Popen must not wait for this one.
        process.returncode = 0
        return reader

    def _watch(self, wake: int, parent: int | None) -> int:
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        poller.register(self._output, select.POLLIN)
        poller.register(self._control, select.POLLIN)
        if parent is not None:
            poller.register(parent, select.POLLIN)
        shared = -1 if self._shared is None else self._shared.descriptor
        if shared >= 0:
            poller.register(shared, select.POLLIN)
        while True:
            for descriptor, _ in poller.poll(self._patience()):
                if descriptor == shared:
                    self._look_at_shared_memory()
                elif descriptor == wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 1 << 12)
                elif descriptor == self._output:
                    if not self._drain():
                        poller.unregister(self._output)
                elif descriptor == parent:
                    poller.unregister(parent)
                    self._stop(_ORPHAN_GRACE)
                elif not self._obey():
                    poller.unregister(self._control)
                    self._stop(_ORPHAN_GRACE)
            self._reap()
            if self._clean():
                self._drain()
                remove_scratch(self._scratch)
                if self._shared is not None:
                    remove_shared_memory(self._shared.found.items())
                self._tell(event="gone", lost=self._log.lost, farewell=self._farewell.failure)
                return 0

    def _look_at_shared_memory(self) -> None:
        if self._shared is not None:
            found = self._shared.look(descendants(os.getpid()))
            if found:
                self._tell(event="shared", files=found)

    def _patience(self) -> float | None:
        # Milliseconds. Only while something is being ended is there a deadline to look at.
        return 20.0 if self._stopping or self._engine_status is not None else None

    def _drain(self) -> bool:
        total = 0
        while total < _DRAIN_LIMIT:
            try:
                data = os.read(self._output, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            total += len(data)
            self._log.write(data)
        return True

    def _obey(self) -> bool:
        data = os.read(self._control, 1 << 16)
        self._buffer += data
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            self._stop(float(json.loads(line)["stop"]))
        return bool(data)

    def _stop(self, grace: float) -> None:
        deadline = time.monotonic() + grace
        if not self._stopping:
            self._stopping = True
            self._kill_at = deadline
            self._look_at_shared_memory()
            if self._engine_status is None and self._engine:
                # The engine alone is asked first: it knows the order in which its parts end.
                send([self._engine], signal.SIGTERM)
                # All of them: one that somebody had stopped would not hear of it, or hold others.
                send(descendants(os.getpid()), signal.SIGCONT)
        elif self._kill_at is not None:
            self._kill_at = min(self._kill_at, deadline)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._farewell.pid:
                self._farewell.ended(os.waitstatus_to_exitcode(status))
            elif pid == self._engine:
                # Its last words are in the pipe; whoever hears of the exit wants to read them.
                self._drain()
                self._engine_status = os.waitstatus_to_exitcode(status)
                self._tell(event="exited", status=self._engine_status)

    def _clean(self) -> bool:
        """End what should have ended by now; True when nothing is left."""
        now = time.monotonic()
        if self._engine_status is None:
            if self._kill_at is not None and now >= self._kill_at:
                # What keeps a container may be below too, and is needed to end it.
                mine = descendants(os.getpid()) if self._farewell.over else [self._engine]
                send(mine, signal.SIGKILL)
            return False
        self._farewell.look(now)
        if not self._farewell.over:
            return False
        left = descendants(os.getpid())
        if not left:
            self._reap()
            return True
        if not self._stragglers_told:
            self._stragglers_told = True
            self._kill_at = min(self._kill_at or now + _STRAGGLER_GRACE, now + _STRAGGLER_GRACE)
            send(left, signal.SIGTERM)
            send(left, signal.SIGCONT)
        elif self._kill_at is not None and now >= self._kill_at:
            send(left, signal.SIGKILL)
        return False

    def _tell(self, **event: object) -> None:
        if not self._listening:
            return
        try:
            os.write(self._status, json.dumps(event).encode() + b"\n")
        except OSError:
            self._listening = False


def _watch_process(pid: int) -> int | None:
    # Beside the pipe: a fork of pytest that holds the pipe's other end would keep it open.
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
    if os.getppid() != pid:
        os.close(descriptor)
        os.kill(os.getpid(), signal.SIGTERM)
        return None
    return descriptor


if __name__ == "__main__":
    sys.exit(Guardian(int(sys.argv[1]), int(sys.argv[2])).run())
