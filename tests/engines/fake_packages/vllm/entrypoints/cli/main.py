"""A stand-in for ``vllm serve``: answers what a start-up needs. ``FAKE_VLLM`` says how it fails.

Behaviours: ``exit:CODE``, ``hang`` (never listens), ``late`` (503 until the third look),
``deaf`` (healthy, answers no chat), ``wrong-name``, ``refuse-image``, ``family`` (leaves
grandchildren of every kind, ignores SIGTERM).
"""

# ruff: noqa: T201
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BEHAVIOUR = os.environ.get("FAKE_VLLM", "")


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    looks = 0

    def do_GET(self) -> None:
        if self.path == "/health":
            Handler.looks += 1
            ready = BEHAVIOUR != "late" or Handler.looks > 2
            print(f"health look {Handler.looks}", flush=True)
            self.answer(200 if ready else 503, {})
        else:
            name = option("--served-model-name")
            listed = "somebody/else" if BEHAVIOUR == "wrong-name" else name
            self.answer(200, {"data": [{"id": listed}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][0]["content"]
        text = json.dumps(content)
        if BEHAVIOUR == "deaf":
            time.sleep(3600)
        if BEHAVIOUR == "refuse-image" and "image_url" in text:
            self.answer(500, {"error": "no image processor"})
            return
        if "please die" in text:
            print("fake engine: dying", flush=True)
            os._exit(9)
        message = {"role": "assistant", "content": self.headers.get("Authorization", "no key")}
        self.answer(200, {"choices": [{"index": 0, "message": message}], "model": body["model"]})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        del format, arguments


def main() -> None:
    print("INFO 01-01 00:00:00 [fake.py:1] Starting to load model", sys.argv[2], flush=True)
    if BEHAVIOUR.startswith("exit:"):
        print("fake engine: giving up", file=sys.stderr, flush=True)
        sys.exit(int(BEHAVIOUR.partition(":")[2]))
    if BEHAVIOUR == "hang":
        time.sleep(3600)
    if BEHAVIOUR == "family":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", STUBBORN])
        subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True)
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    address = option("--host"), int(option("--port"))
    try:
        server = ThreadingHTTPServer(address, Handler)
    except OSError as error:
        print(f"OSError: [Errno {error.errno}] {error.strerror}", file=sys.stderr, flush=True)
        sys.exit(1)
    server.serve_forever()


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) < 2:
    subprocess.Popen([sys.executable, *sys.orig_argv[1:3], "leaf"])
time.sleep(3600)
"""

if __name__ == "__main__":
    main()
