"""How soon a ready server, and a dead one, is noticed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure
from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.ports import reserve_port
from pytest_qwenvl.engines.server import Server, launch_server
from pytest_qwenvl.errors import EngineDiedError

# Answers 503 for a second, then as a ready server does, and notes when it first could.
_SERVER = """
import json, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

port, note = int(sys.argv[1]), Path(sys.argv[2])
ready_at = time.time() + 1.0

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        ready = time.time() >= ready_at
        self.reply(200 if ready else 503, {"data": [{"id": "model"}]})
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.reply(200, {"choices": [{}]})
    def log_message(self, *arguments):
        pass

class Server(ThreadingHTTPServer):
    allow_reuse_port = True
    def server_bind(self):
        import socket
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

note.write_text(repr(ready_at))
Server(("127.0.0.1", port), Handler).serve_forever()
"""
_REPEATS = 5


def measure() -> list[Figure]:
    """Median seconds from being ready, and from dying, to being noticed."""
    ready, dead = [], []
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(_REPEATS):
            directory = Path(folder, str(repeat))
            note = Path(folder, f"note-{repeat}")
            reserved = reserve_port()
            argv = (sys.executable, "-c", _SERVER, str(reserved.port), str(note))
            server = launch_server(
                Launch(argv, {}), reserved, model="model", run_directory=directory, start_timeout=60
            )
            ready.append(time.time() - float(note.read_text()))
            killed = time.monotonic()
            os.kill(server.process.pid, signal.SIGKILL)
            dead.append(_noticed_after(server, killed))
            server.stop()
    return [
        Figure("readiness noticed after the first 200", median(ready), 0.3, "s"),
        Figure("an engine's death noticed", median(dead), 0.5, "s"),
    ]


def _noticed_after(server: Server, killed: float) -> float:
    while True:
        try:
            server.check_alive()
        except EngineDiedError:
            return time.monotonic() - killed
        if time.monotonic() - killed > 10:
            raise SystemExit("the engine's death was not noticed within 10 s")
        time.sleep(0.005)
