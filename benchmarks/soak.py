"""What watching a soak takes of a core: against a server that says what vLLM says, in its size."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure

_SECONDS = 60.0
_ROOT = Path(__file__).resolve().parents[1]
# Processes, descriptors and /metrics as large as those of vLLM with four workers.
_SERVER = """
import subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

kept = bytearray(b"x") * (256 << 20)
files = [open("/dev/null") for _ in range(100)]
metrics = "".join(
    f'vllm:request_seconds_bucket{{engine="0",le="{it}",model_name="m"}} {it}.0\\n'
    for it in range(1000)
)
for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
    metrics += f'vllm:{name}{{engine="0",model_name="m"}} 0.0\\n'

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        data = metrics.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *arguments):
        pass

if len(sys.argv) < 3:
    time.sleep(3600)
workers = [subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]]) for _ in range(4)]
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
Path(sys.argv[1] + ".part").write_text(str(server.server_address[1]))
Path(sys.argv[1] + ".part").rename(sys.argv[1])
server.serve_forever()
"""


def measure() -> list[Figure]:
    """Processor seconds of looking at five processes, as a share of one core."""
    from pytest_qwenvl.engines.endpoint import Endpoint
    from pytest_qwenvl.profile_loading import load_profiles
    from pytest_qwenvl.soak.processes import EngineProcesses
    from pytest_qwenvl.soak.watching import Watch

    load = load_profiles([_ROOT / "conformance" / "profiles"])["qwen3-vl-tiny"].soak
    assert load is not None
    with tempfile.TemporaryDirectory() as folder:
        port = Path(folder) / "port"
        command = [sys.executable, "-c", _SERVER, str(port), _SERVER]
        process = subprocess.Popen(command, start_new_session=True)
        try:
            while not port.exists():
                if process.poll() is not None:
                    raise SystemExit("the server to be watched ended")
                time.sleep(0.05)
            server = Endpoint(f"http://127.0.0.1:{port.read_text()}", "m")
            watch = Watch(
                server, EngineProcesses(process.pid), None, lambda: 0, load.watch_interval
            )
            watch.start()
            time.sleep(_SECONDS)
            watch.stop()
            roles = {one.of for one in watch.watched() if one.quantity == "memory"}
            if watch.failure is not None or len(roles) != 5:
                raise SystemExit(f"expected 5 processes to be watched, seen {roles}")
            server.stop()
        finally:
            # Its workers with it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    share = 100 * watch.processor / _SECONDS
    return [Figure("watching five processes of a soaked server", share, 1.0, "% of one core")]
