"""Leaks to plant in a running vLLM: ``--middleware tests.soak.leaking.Leaking`` loads them.

``POST /planted/NAME`` switches to one of them, ``none`` at first. Each leaks a little with every
chat request. Imported in the engine's process, so it needs nothing but Python.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

BYTES = 512 * 1024
SECONDS = 0.005
STUCK_AFTER = 20  # requests


class Leaking:
    """An ASGI middleware that leaks what it was told to."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._leak = "none"
        self._requests = 0
        self._kept: list[Any] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request as the server does, and leak."""
        path = scope.get("path", "")
        if path.startswith("/planted/"):
            self._leak, self._requests = path.removeprefix("/planted/"), 0
            self._kept.clear()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        if path == "/v1/chat/completions":
            self._requests += 1
            if self._leak == "memory":
                self._kept.append(bytearray(b"x") * BYTES)
            elif self._leak == "descriptors":
                self._kept.append(open("/dev/null"))  # noqa: SIM115
            elif self._leak == "drift":
                await asyncio.sleep(self._requests * SECONDS)
            elif self._leak == "stuck" and self._requests == STUCK_AFTER:
                task = asyncio.get_running_loop().create_task(self._ask_for_ever(dict(scope)))
                self._tasks.add(task)
        await self._app(scope, receive, send)

    async def _ask_for_ever(self, scope: Message) -> None:
        """A request that nobody waits for, and another one when it is over."""
        body = json.dumps(
            {
                "model": "qwen3-vl-tiny",
                "messages": [{"role": "user", "content": "Say hello."}],
                "max_tokens": 3900,
                "ignore_eos": True,
            }
        ).encode()
        length = str(len(body)).encode()
        scope["headers"] = [(b"content-type", b"application/json"), (b"content-length", length)]

        async def send(message: Message) -> None:
            del message

        while self._leak == "stuck":
            sent = False

            async def receive() -> Message:
                nonlocal sent
                if not sent:
                    sent = True
                    return {"type": "http.request", "body": body, "more_body": False}
                await asyncio.sleep(3600)
                return {"type": "http.disconnect"}

            await self._app(scope, receive, send)
