"""The processes of an engine, as vLLM 0.32 has them: API server, engine core, worker.

The core is the server's child and the worker the core's; each ends when its parent or its child
does. Every question goes through all three, so that none of them can be missing unnoticed. The
core keeps shared memory and a socket in the folder of vLLM's sockets, as vLLM does, and names both
in the log.
"""

# ruff: noqa: T201
from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from multiprocessing import resource_tracker, shared_memory

from tests.stand_in_engine.install import CHECKOUT

CORE, WORKER = "stand-in-core", "stand-in-worker"


class Part:
    """A child that answers lines with lines; without it this process ends."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stand_in_engine.parts", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=CHECKOUT,
        )

    def watch(self) -> None:
        """End this process as soon as the child has ended."""
        threading.Thread(target=self._watch, daemon=True).start()

    def ask(self) -> None:
        """Return once the child has answered."""
        assert self._process.stdin and self._process.stdout
        with self._lock:
            self._process.stdin.write(b"?\n")
            self._process.stdin.flush()
            if not self._process.stdout.readline():
                # The process is about to be ended for it; nobody may take this for an answer.
                time.sleep(3600)

    def _watch(self) -> None:
        status = self._process.wait()
        print(f"ERROR: {self._name} died with {status}", file=sys.stderr, flush=True)
        os._exit(1)


def main(name: str) -> None:
    """Be the core or the worker until nobody asks any more."""
    child = None
    if name == CORE:
        memory = shared_memory.SharedMemory(create=True, size=1 << 16)
        # What vLLM's CPU backend shares among workers is made in C++: nobody tidies it up.
        resource_tracker.unregister(memory._name, "shared_memory")  # type: ignore[attr-defined]
        place = os.environ.get("VLLM_RPC_BASE_PATH") or tempfile.gettempdir()
        address = os.path.join(place, str(uuid.uuid4()))
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(address)
        print(f"INFO: keeps /dev/shm/{memory.name} {address}", file=sys.stderr, flush=True)
        child = Part(WORKER)
        child.watch()
    for _ in sys.stdin:
        if child is not None:
            child.ask()
        print("!", flush=True)
    if name == CORE:
        # vLLM's own clean end; a process that is killed comes to none.
        os.unlink(address)
        memory.close()
        resource_tracker.register(memory._name, "shared_memory")  # type: ignore[attr-defined]
        memory.unlink()


if __name__ == "__main__":
    main(sys.argv[1])
