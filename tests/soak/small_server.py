"""A server in small, with vLLM's counters and a leak on demand: ``PORT-FILE LEAK``."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LEAK = sys.argv[2] if len(sys.argv) > 2 else ""
LOCK = threading.Lock()
KEPT: list[Any] = []
COUNTS = {"running": 0, "requests": 0}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with LOCK:
            running = COUNTS["running"]
        text = (
            "# TYPE vllm:num_requests_running gauge\n"
            f'vllm:num_requests_running{{engine="0",model_name="m"}} {float(running)}\n'
            'vllm:num_requests_waiting{engine="0",model_name="m"} 0.0\n'
            'vllm:num_requests_waiting_by_reason{reason="x",model_name="m"} 7.0\n'
            'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25\n'
        )
        self.reply(200, text.encode(), "text/plain")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            asked = json.loads(body)
        except ValueError:
            self.reply(400, b'{"error": {"message": "no JSON"}}')
            return
        with LOCK:
            COUNTS["requests"] += 1
            number = COUNTS["requests"]
            COUNTS["running"] += 1
        if LEAK == "memory":
            KEPT.append(bytearray(b"x") * 400_000)
        elif LEAK == "descriptors":
            KEPT.append(open("/dev/null"))  # noqa: SIM115
        elif LEAK == "threads":
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        elif LEAK == "dies" and number > 20:
            os._exit(9)
        time.sleep(0.001 * number if LEAK == "drift" else 0.005)
        text = "Blue." if LEAK == "answers" and number > 40 else "Red."
        if asked.get("stream"):
            self.stream(cut=LEAK == "streams")
        else:
            status = 500 if LEAK == "failures" and number % 30 == 0 else 200
            choices = [{"message": {"content": text}}]
            self.reply(status, json.dumps({"choices": choices}).encode())
        with LOCK:
            if not (LEAK == "stuck" and number == 10):
                COUNTS["running"] -= 1

    def stream(self, cut: bool) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        try:
            for _ in range(4):
                self.wfile.write(b'data: {"choices": []}\n\n')
                time.sleep(0.002)
            if not cut:
                self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            pass
        self.close_connection = True

    def reply(self, status: int, data: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    listening = Server(("127.0.0.1", 0), Handler)
    unfinished = Path(sys.argv[1] + ".part")
    unfinished.write_text(str(listening.server_address[1]))
    unfinished.rename(sys.argv[1])
    listening.serve_forever(0.05)
