"""Fixed questions, asked again and again while a server is under load: same answers, same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.errors import EngineDiedError
from pytest_qwenvl.measure.soak import LATENCY
from pytest_qwenvl.measure.soak_record import Answer, Probe, Thinning, Watched

if TYPE_CHECKING:
    from pytest_qwenvl.engines.endpoint import Endpoint
    from pytest_qwenvl.soak.load import MixedLoad

_MOST_ANSWERS = 50
_LONGEST = 2000  # characters kept of an answer


@dataclass(frozen=True)
class Question:
    """A probe: a chat request at temperature 0, and the oracle of its answer."""

    name: str
    body: dict[str, Any]
    accepts: Callable[[str], bool]


@dataclass
class _Asked:
    question: Question
    latency: Thinning
    asked: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)


class Probes:
    """Asks questions in turn from a thread of its own.

    Args:
        interval: seconds from one round to the next.
        timeout: seconds for one answer.
    """

    def __init__(
        self,
        server: Endpoint,
        questions: Sequence[Question],
        load: MixedLoad,
        interval: float,
        timeout: float,
    ) -> None:
        self._server = server
        self._load = load
        self._interval = interval
        self._timeout = timeout
        self._asked = [_Asked(it, Thinning(LATENCY, it.name, "s")) for it in questions]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="qwenvl-soak-probes", daemon=True)
        self._began = time.monotonic()
        self.failure: Exception | None = None

    def start(self) -> None:
        """Begin; times count from here."""
        self._began = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End after the question that is under way."""
        self._stop.set()
        self._thread.join()

    def probes(self) -> tuple[Probe, ...]:
        """What each was answered."""
        return tuple(
            Probe(it.question.name, it.asked, tuple(it.answers.values())) for it in self._asked
        )

    def watched(self) -> tuple[Watched, ...]:
        """The latency of each that was answered, in seconds."""
        return tuple(it.latency.watched() for it in self._asked if it.answers)

    def _run(self) -> None:
        try:
            due = time.monotonic()
            while not self._stop.is_set():
                for asked in self._asked:
                    self._ask(asked)
                due = max(due + self._interval, time.monotonic())
                self._stop.wait(due - time.monotonic())
        except EngineDiedError:
            # The load meets it as well, and tells.
            pass
        except Exception as problem:
            self.failure = problem

    def _ask(self, asked: _Asked) -> None:
        import requests

        question = asked.question
        at = time.monotonic() - self._began
        sent = time.monotonic()
        asked.asked += 1
        try:
            with self._load.counted():
                response = self._server.request(
                    "POST", "/v1/chat/completions", json=question.body, timeout=self._timeout
                )
            seconds = time.monotonic() - sent
            text = response.json()["choices"][0]["message"]["content"]
        except (requests.RequestException, ValueError, LookupError, TypeError) as problem:
            told = f"{type(problem).__name__}: {problem}"
            self._load.note_wrong(f"probe {question.name}", told)
            return
        if response.status_code != 200 or not isinstance(text, str):
            self._load.note_wrong(f"probe {question.name}", f"HTTP {response.status_code}: {text}")
            return
        asked.latency.add(at, seconds)
        self._keep(asked, text[:_LONGEST], at)

    def _keep(self, asked: _Asked, text: str, at: float) -> None:
        known = asked.answers.get(text)
        if known is None and len(asked.answers) >= _MOST_ANSWERS:
            # Enough are kept to judge by; the last stands for all further ones.
            text, known = list(asked.answers.items())[-1]
        at = round(at, 2)
        if known is None:
            asked.answers[text] = Answer(text, asked.question.accepts(text), 1, at, at)
        else:
            asked.answers[text] = Answer(text, known.right, known.times + 1, known.first_at, at)
