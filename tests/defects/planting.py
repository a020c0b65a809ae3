"""How a defect is planted, and the list that it stands in."""

from __future__ import annotations

import contextlib
import inspect
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.defects.messages import Request, Response

Body = dict[str, Any]


class Planted:
    """What one proxy does to the requests it carries; as it stands, nothing.

    A subclass is one kind of defect, an instance one defect on one port.

    Attributes:
        upstream: the engine's address.
        keeps_running: whether a request goes on after its client left.
        answers_head: whether the answer to HEAD has a body.
        patience: seconds between two pieces of a request; None waits for ever.
    """

    upstream = ""
    keeps_running = False
    answers_head = False
    patience: float | None = None

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: Body = {}

    def accepts(self) -> bool:
        """Whether a new connection is served at all."""
        return True

    def broken(self, received: bytes, ended: bool) -> bytes | None:
        """What is sent for bytes that are no whole, plain request; None leaves it to the engine.

        Args:
            ended: whether the client ended its direction.
        """
        return None

    def around(self, request: Request) -> contextlib.AbstractContextManager[Any]:
        """Held while a request is answered."""
        return contextlib.nullcontext()

    def before(self, request: Request) -> Response | None:
        """Change a request before the engine gets it, or answer it in the engine's place."""
        return None

    def after(self, request: Request, response: Response) -> Response:
        """Change a response before the client gets it."""
        return response

    def opens_stream(self, request: Request, response: Response) -> Response:
        """Change the head of an event stream."""
        return response

    def events(self, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
        """Change the events of a stream; ConnectionAbortedError breaks it off."""
        return events

    def keeps_connection(self, response: Response) -> bool:
        """Whether the connection goes on after a response, without a word."""
        return True


@dataclass(frozen=True)
class Defect:
    """One thing that can be wrong with a server.

    Attributes:
        name: as it stands in the matrix.
        summary: what the server does wrong.
        expected: ids of the requirements that must turn red, without ``QVL-``.
        plant: makes it, anew for each proxy.
        module: the one that it stands in.
    """

    name: str
    summary: str
    expected: tuple[str, ...]
    plant: Callable[[], Planted]
    module: str

    @property
    def ids(self) -> frozenset[str]:
        """The expected requirements' ids."""
        return frozenset(f"QVL-{it}" for it in self.expected)


DEFECTS: dict[str, Defect] = {}


def _caller() -> str:
    """The nearest module below which is none of planting, where a defect is written."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals["__name__"] == __name__:
        frame = frame.f_back
    return str(frame.f_globals["__name__"]) if frame else ""


Plant = Callable[[type[Planted]], type[Planted]]


def defect(name: str, summary: str, *expected: str, **settings: Any) -> Plant:
    """Put a kind of :class:`Planted` on the list; ``settings`` are its arguments."""

    def add(kind: type[Planted]) -> type[Planted]:
        put(Defect(name, summary, expected, lambda: kind(**settings), kind.__module__))
        return kind

    return add


def put(one: Defect) -> None:
    """Put a defect on the list.

    Raises:
        ValueError: its name is taken.
    """
    if one.name in DEFECTS:
        raise ValueError(f"two defects are called {one.name!r}")
    DEFECTS[one.name] = one


def _of_hook(hook: str, name: str, summary: str, expected: tuple[str, ...]) -> Any:
    module = _caller()

    def add(function: Any) -> Any:
        def method(self: Planted, *arguments: Any) -> Any:
            return function(self, *arguments)

        put(Defect(name, summary, expected, type(name, (Planted,), {hook: method}), module))
        return function

    return add


def asked(name: str, summary: str, *expected: str) -> Any:
    """A defect of chat requests: a function of the defect and the request."""

    def add(function: Callable[[Planted, Request], Response | None]) -> Any:
        def before(self: Planted, request: Request) -> Response | None:
            return function(self, request) if request.is_chat else None

        _of_hook("before", name, summary, expected)(before)
        return function

    return add


def any_request(name: str, summary: str, *expected: str) -> Any:
    """A defect of requests to any path."""
    return _of_hook("before", name, summary, expected)


def any_response(name: str, summary: str, *expected: str) -> Any:
    """A defect of all responses that are no stream: a function that returns the new one."""
    return _of_hook("after", name, summary, expected)


def answered(name: str, summary: str, *expected: str, path: str = "/v1/chat/completions") -> Any:
    """A defect of good answers to ``path``: a function of the defect, the request, the body."""

    def add(function: Callable[[Planted, Request, Body], Any]) -> Any:
        def after(self: Planted, request: Request, response: Response) -> Response:
            body = response.document
            if request.path == path and response.status == 200 and isinstance(body, dict):
                function(self, request, body)
                response.document = body
            return response

        _of_hook("after", name, summary, expected)(after)
        return function

    return add


def streamed(name: str, summary: str, *expected: str, path: str = "/v1/chat/completions") -> Any:
    """A defect of streams of ``path``: a generator of the defect, the request, the events."""

    def add(function: Callable[[Planted, Request, Iterator[bytes]], Iterator[bytes]]) -> Any:
        def events(self: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
            return function(self, request, events) if request.path == path else events

        _of_hook("events", name, summary, expected)(events)
        return function

    return add


def chunked(name: str, summary: str, *expected: str, path: str = "/v1/chat/completions") -> Any:
    """A defect of chunks: a function of the defect, the number, the chunk, changed in place.

    What it returns is sent instead, where that is a list: of chunks, in bytes or not.
    """

    def add(function: Callable[[Planted, int, Body], Any]) -> Any:
        def events(self: Planted, request: Request, events: Iterator[bytes]) -> Iterator[bytes]:
            for number, event in enumerate(events):
                body = read_chunk(event)
                if body is None:
                    yield event
                    continue
                instead = function(self, number, body)
                for each in [body] if instead is None else instead:
                    yield each if isinstance(each, bytes) else write_chunk(each, event)

        streamed(name, summary, *expected, path=path)(events)
        return function

    return add


def read_chunk(event: bytes) -> Body | None:
    """The JSON of an event; None of [DONE]."""
    data = event.partition(b"data: ")[2].strip()
    return json.loads(data) if data.startswith(b"{") else None


def write_chunk(body: Body, like: bytes = b"data: ") -> bytes:
    """An event with this JSON; what stands before its data is that of ``like``."""
    return (
        like.partition(b"data: ")[0]
        + b"data: "
        + json.dumps(body, ensure_ascii=False).encode()
        + b"\n\n"
    )
