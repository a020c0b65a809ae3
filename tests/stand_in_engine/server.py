"""``vllm serve`` in small: vLLM 0.32's bodies, log lines, limits and errors over plain HTTP."""

# ruff: noqa: T201
from __future__ import annotations

import base64
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from tests.stand_in_engine.defects import planted
from tests.stand_in_engine.model import Model, Turn, pieces
from tests.stand_in_engine.occupying import load, occupy
from tests.stand_in_engine.parts import CORE, Part

FINGERPRINT = "vllm-0.32.0-standin"
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) < 2:
    subprocess.Popen([sys.executable, *sys.orig_argv[1:3], "leaf"])
time.sleep(3600)
"""


class Refusal(Exception):
    """A request that is answered with an error object."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        self.status = status
        self.body = {"message": message, "type": kind, "param": param, "code": status}
        super().__init__(message)


def family_of(weights: str) -> str:
    """The family of the model in a directory of weights."""
    content = json.loads((Path(weights) / "config.json").read_text(encoding="utf-8"))
    return str(content["model_type"]).replace("_vl", "-vl").replace("2_5", "2.5").replace("_", "")


def turns_of(messages: list[dict[str, Any]]) -> list[Turn]:
    """Messages of a chat request as the model takes them."""
    turns = []
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        parts: list[str | Image.Image] = []
        for part in content:
            if part["type"] == "text":
                parts.append(part["text"])
            else:
                data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                parts.append(Image.open(io.BytesIO(data)).convert("RGB"))
        turns.append(Turn(message["role"], tuple(parts)))
    return turns


class Engine:
    """What all requests share."""

    def __init__(self, argv: list[str]) -> None:
        options = dict(itertools.pairwise(argv))
        self.defects = planted()
        self.name = options["--served-model-name"]
        self.address = options["--host"], int(options["--port"])
        self.max_model_len = int(options.get("--max-model-len", "4096"))
        self.limit = int(json.loads(options["--limit-mm-per-prompt"])["image"])
        self.devices = int(options.get("--tensor-parallel-size", "1"))
        self.weights = argv[0]
        self.model = Model(family_of(self.weights))
        self.created = int(time.time())
        self.core = Part(CORE) if "in-parts" in self.defects else None
        self._count = 0
        self._lock = threading.Lock()

    def next_id(self) -> str:
        with self._lock:
            self._count += 1
            return f"chatcmpl-{self._count:016x}"

    def models(self) -> dict[str, Any]:
        """The body of ``/v1/models``."""
        model: dict[str, Any] = {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "vllm",
            "root": self.weights,
            "parent": None,
            "max_model_len": self.max_model_len,
            "permission": [],
        }
        return {"object": "list", "data": [model]}

    def chat(self, request: dict[str, Any]) -> Answer:
        """Answer a chat request, or refuse it."""
        if request.get("model") != self.name:
            message = f"The model `{request.get('model')}` does not exist."
            raise Refusal(404, "NotFoundError", message, "model")
        if self.core is not None:
            self.core.ask()
        turns = turns_of(request["messages"])
        self._check_limit(turns)
        images = sum(len(turn.images) for turn in turns)
        asked = turns[-1].text.startswith("Describe")
        if (images and "dies-on-image" in self.defects) or (
            asked and "dies-on-describe" in self.defects
        ):
            print("ERROR: stand-in engine: dying", file=sys.stderr, flush=True)
            os._exit(9)
        if asked and "silent-on-describe" in self.defects:
            print("INFO: stand-in engine: asked to describe", file=sys.stderr, flush=True)
            time.sleep(3600)
        return Answer(self, request, turns)

    def answer(self, turns: list[Turn]) -> str:
        """What it says, which depends on how it was started where that is its defect."""
        text = self.model.answer(turns)
        if "starts-differ" in self.defects:
            text += f" I am {os.getpid()}."
        if "devices-differ" in self.defects:
            text += f" I have {self.devices}."
        return text

    def _check_limit(self, turns: list[Turn]) -> None:
        images = sum(len(turn.images) for turn in turns)
        if images > self.limit:
            message = (
                f"At most {self.limit} image(s) may be provided in one prompt. (parameter=image)"
            )
            raise Refusal(400, "BadRequestError", message, "image")


class Answer:
    """One answered chat request, plain or as a stream."""

    def __init__(self, engine: Engine, request: dict[str, Any], turns: list[Turn]) -> None:
        self.request = request
        tokens = pieces(engine.answer(turns))
        most = request.get("max_tokens")
        most = request.get("max_completion_tokens", most)
        # The token that ends an answer is counted, as vLLM does.
        cut = most is not None and len(tokens) + 1 > most
        self.tokens = tokens[:most] if cut else tokens
        self.finish_reason = "length" if cut else "stop"
        written = len(self.tokens) + (not cut)
        prompt = engine.model.prompt_tokens(turns)
        self.usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "total_tokens": prompt + written,
            "completion_tokens": written,
            "prompt_tokens_details": None,
            "completion_tokens_details": None,
        }
        self.id = engine.next_id()
        self.created = int(time.time())
        self.model = request["model"]

    def body(self) -> dict[str, Any]:
        """The answer in one piece."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.tokens)}
        message |= dict.fromkeys(["refusal", "annotations", "audio", "function_call", "reasoning"])
        choice: dict[str, Any] = {"index": 0, "message": message, "logprobs": self._logprobs()}
        choice |= {"finish_reason": self.finish_reason}
        choice |= dict.fromkeys(["stop_reason", "token_ids", "routed_experts"])
        body: dict[str, Any] = {"id": self.id, "object": "chat.completion"}
        body |= {"created": self.created, "model": self.model, "choices": [choice]}
        body |= {"service_tier": None, "system_fingerprint": FINGERPRINT, "usage": self.usage}
        body |= dict.fromkeys(["prompt_logprobs", "prompt_token_ids", "prompt_text"])
        body |= dict.fromkeys(["kv_transfer_params", "ec_transfer_params", "metrics"])
        return body

    def events(self) -> Iterator[str]:
        """The answer as the data of server-sent events."""
        first = {"role": "assistant", "content": ""}
        yield self._chunk(first, prompt_token_ids=None, prompt_text=None)
        for token in self.tokens:
            yield self._chunk({"content": token})
        yield self._chunk({"content": ""}, finish_reason=self.finish_reason, stop_reason=None)
        if (self.request.get("stream_options") or {}).get("include_usage"):
            chunk = {**self._head(), "choices": [], "usage": self.usage}
            yield json.dumps({**chunk, "system_fingerprint": FINGERPRINT})
        yield "[DONE]"

    def _head(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> str:
        choice: dict[str, Any] = {"index": 0, "delta": delta, "logprobs": None}
        choice["finish_reason"] = finish_reason
        top = {name: value for name, value in more.items() if name != "stop_reason"}
        if "role" not in delta and not top:
            choice["token_ids"] = None
        if "stop_reason" in more:
            choice["stop_reason"] = None
        return json.dumps({**self._head(), "choices": [choice], **top})

    def _logprobs(self) -> dict[str, Any] | None:
        if not self.request.get("logprobs"):
            return None
        content = []
        for token in self.tokens:
            entry = {"token": token, "logprob": -0.01, "bytes": list(token.encode())}
            other = {"token": "?", "logprob": -5.0, "bytes": [63]}
            content.append({**entry, "top_logprobs": [entry, other]})
        return {"content": content}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    engine: Engine

    def do_GET(self) -> None:
        if self.path == "/health":
            self.send(200, b"", "text/plain")
        elif self.path == "/v1/models":
            self.send_json(200, self.engine.models())
        else:
            self.send_json(404, {"error": {"message": "Not Found", "type": "NotFoundError"}})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "logs-prompts" in self.engine.defects:
            print("INFO: stand-in engine: asked", request, file=sys.stderr, flush=True)
        try:
            answer = self.engine.chat(request)
        except Refusal as refusal:
            self.send_json(refusal.status, {"error": refusal.body})
            return
        if request.get("stream"):
            self.send_stream(answer)
        else:
            self.send_json(200, answer.body())

    def send_json(self, status: int, body: dict[str, Any]) -> None:
        self.send(status, json.dumps(body).encode(), "application/json")

    def send(self, status: int, data: bytes, content_type: str) -> None:
        self.log_access(status)
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send_stream(self, answer: Answer) -> None:
        self.log_access(200)
        self.send_response_only(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in answer.events():
            data = f"data: {event}\n\n".encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_access(self, status: int) -> None:
        if "no-access-log" not in self.engine.defects:
            phrase = self.responses.get(status, ("",))[0]
            line = f'{self.client_address[0]}:{self.client_address[1]} - "{self.requestline}"'
            print(f"INFO:     {line} {status} {phrase}", file=sys.stderr, flush=True)


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def serve(argv: list[str]) -> None:
    """Run ``vllm serve WEIGHTS --host …`` until SIGTERM."""
    defects = planted()
    print("INFO 01-01 00:00:00 [stand_in.py:1] Starting to load model", argv[0], flush=True)
    occupy()
    load()
    if "exits-0" in defects:
        sys.exit(0)
    if "exits-1" in defects:
        print("ERROR: stand-in engine: no kernel image", file=sys.stderr, flush=True)
        sys.exit(1)
    if "ignores-sigterm" in defects:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "has-family" in defects:
        subprocess.Popen([sys.executable, "-c", STUBBORN])
    if "hangs" in defects:
        time.sleep(3600)
    engine = Engine(argv)
    if engine.core is not None:
        engine.core.watch()
        engine.core.ask()
    Handler.engine = engine
    with Server(engine.address, Handler) as server:
        if "no-start-up-lines" not in defects:
            for line in (
                f"Started server process [{os.getpid()}]",
                "Waiting for application startup.",
                "Application startup complete.",
            ):
                print(f"INFO:     {line}", file=sys.stderr, flush=True)
        server.serve_forever()


def bench(argv: list[str]) -> None:
    """Stand in for ``vllm bench serve``: shows progress and never ends."""
    del argv
    for done in range(1, 1 << 30):
        print(f"{done}%|#    | {done}/100 [00:01<00:09, 9.9it/s]", file=sys.stderr, flush=True)
        time.sleep(0.2)


def main(argv: list[str]) -> None:
    """The ``vllm`` command."""
    command, *rest = argv
    if command == "serve":
        serve(rest)
    elif command == "bench" and rest[0] == "serve":
        bench(rest[1:])
    else:
        sys.exit(f"stand-in vllm: no command {' '.join(argv)}")


__all__ = ["Engine", "family_of", "main", "turns_of"]
