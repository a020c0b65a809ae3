"""A bounded open-loop load of mixed requests, each held to what it must come to."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_qwenvl.errors import EngineDiedError
from pytest_qwenvl.measure.soak_record import Tally, Wrong
from pytest_qwenvl.profile_soak import RequestKind, SoakLoad

if TYPE_CHECKING:
    import requests

    from pytest_qwenvl.engines.endpoint import Endpoint

_CHAT = "/v1/chat/completions"
_REFUSED = ("too_many", "malformed")
_STREAMED = ("stream", "disconnect")
_MOST_WRONG = 50
_LONGEST = 300  # characters of an answer that are kept


@dataclass(frozen=True)
class SoakRequest:
    """One request of the load.

    Attributes:
        body: as it goes out.
        leave_after: of a ``disconnect``, pieces of the stream after which the client leaves.
    """

    kind: RequestKind
    body: bytes
    leave_after: int = 1


Draw = Callable[[RequestKind, random.Random], SoakRequest]
"""Makes the next request of a kind, with the load's own random numbers."""


class MixedLoad:
    """Sends requests of a profile's mix at its rate until told to stop.

    A request is sent when its time has come, whether or not earlier ones are answered; with as
    many under way as the profile allows it is left out and counted.
    """

    def __init__(self, server: Endpoint, load: SoakLoad, draw: Draw, seed: int) -> None:
        self._server = server
        self._load = load
        self._draw = draw
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._under_way = 0
        self._peak = 0
        self._sent: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()
        self._unsent: Counter[str] = Counter()
        self._wrong: list[Wrong] = []
        self._began = time.monotonic()
        self.died: EngineDiedError | None = None

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """What became of the requests, by kind."""
        with self._lock:
            kinds = sorted({*self._sent, *self._unsent})
            return {
                kind: Tally(self._sent[kind], self._bad[kind], self._unsent[kind]) for kind in kinds
            }

    @property
    def wrong(self) -> tuple[Wrong, ...]:
        """The first of what came out wrong."""
        with self._lock:
            return tuple(self._wrong)

    def most_under_way(self) -> int:
        """The most requests under way at once since this was last asked."""
        with self._lock:
            peak, self._peak = self._peak, self._under_way
            return peak

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Counts a request that somebody else sends among those under way."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def note_wrong(self, kind: str, what: str) -> None:
        """Keep what came out as it should not."""
        with self._lock:
            if len(self._wrong) < _MOST_WRONG:
                at = round(time.monotonic() - self._began, 2)
                self._wrong.append(Wrong(at, kind, what[:_LONGEST]))

    def run(self, seconds: float, stop: threading.Event) -> float:
        """Send for so many seconds, or until ``stop``; then wait for what is under way.

        Returns:
            Seconds from the first request to the last answer.
        """
        self._began = time.monotonic()
        kinds = sorted(self._load.mix)
        weights = [self._load.mix[kind] for kind in kinds]
        due = 0.0
        futures: set[Future[None]] = set()
        # Not a ``with``: a request that never ends must not hold the run up for ever.
        pool = ThreadPoolExecutor(self._load.most_at_once, "qwenvl-soak")
        try:
            while due < seconds and self.died is None:
                if stop.wait(max(0.0, self._began + due - time.monotonic())):
                    break
                (kind,) = self._random.choices(kinds, weights)
                request = self._draw(kind, self._random)
                futures = {future for future in futures if not future.done()}
                if len(futures) >= self._load.most_at_once:
                    with self._lock:
                        self._unsent[kind] += 1
                else:
                    self._enter()
                    futures.add(pool.submit(self._one, request))
                due += self._random.expovariate(self._load.request_rate)
            ended = time.monotonic() - self._began
            for _ in wait(futures, self._load.request_timeout + 5).not_done:
                self.note_wrong("load", "was not over long after its time-out")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return ended

    def _one(self, request: SoakRequest) -> None:
        import requests

        problem = ""
        try:
            problem = self._send(request)
        except EngineDiedError as death:
            self.died = death
            problem = death.message
        except (requests.RequestException, ValueError) as failure:
            problem = f"{type(failure).__name__}: {failure}"
        finally:
            self._leave()
        with self._lock:
            self._sent[request.kind] += 1
            self._bad[request.kind] += bool(problem)
        if problem:
            self.note_wrong(request.kind, problem)

    def _send(self, request: SoakRequest) -> str:
        """What is wrong with the outcome; empty for nothing."""
        streamed = request.kind in _STREAMED
        headers = {"Content-Type": "application/json"}
        if request.kind in _REFUSED:
            headers["Connection"] = "close"
        response = self._server.request(
            "POST",
            _CHAT,
            data=request.body,
            headers=headers,
            timeout=self._load.request_timeout,
            stream=streamed,
        )
        with response:
            if request.kind in _REFUSED:
                return "" if 400 <= response.status_code < 500 else _told(response, "a refusal")
            if response.status_code != 200:
                return _told(response, "200")
            if streamed:
                return _read_stream(response, request)
            choices = json.loads(response.content).get("choices")
            return "" if choices else _told(response, "choices")

    def _enter(self) -> None:
        with self._lock:
            self._under_way += 1
            self._peak = max(self._peak, self._under_way)

    def _leave(self) -> None:
        with self._lock:
            self._under_way -= 1


def _read_stream(response: requests.Response, request: SoakRequest) -> str:
    pieces, done = 0, False
    for line in response.iter_lines():
        if line.startswith(b"data:"):
            pieces += 1
            done = done or line[5:].strip() == b"[DONE]"
            if request.kind == "disconnect" and pieces >= request.leave_after:
                return ""
    if not pieces:
        return "expected a stream, seen no event"
    return "" if done else f"the stream ended after {pieces} events without [DONE]"


def _told(response: requests.Response, expected: str) -> str:
    return f"expected {expected}, seen HTTP {response.status_code}: {response.text[:_LONGEST]}"
