"""What a soak left: series of what was watched, probes' answers, requests that went wrong.

Bounded however long the soak was: a series keeps at most :data:`MOST_POINTS` points, each the mean
of neighbouring samples with the lowest and highest of them, so that slopes and peaks stay. The
report's key ``measurement`` holds the whole of it, and it is judged from that alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.errors import MeasurementError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

KIND = "soak"
MOST_POINTS = 720


@dataclass(frozen=True)
class Watched:
    """One watched quantity of one process, device or server.

    Attributes:
        quantity: ``memory``, ``descriptors``, ``running`` …
        of: whose, by role: ``engine core``; empty for the server as a whole.
        unit: ``MiB``, ``s``, ``cores``, or empty for a count.
        times: seconds since the load began, of each point; ``values`` are means.
        lows, highs: the extremes of the samples behind each point.
        samples: how many there were in all.
    """

    quantity: str
    of: str
    unit: str
    times: tuple[float, ...]
    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    samples: int

    @property
    def name(self) -> str:
        """For sentences: ``memory of engine core``."""
        return f"{self.quantity} of {self.of}" if self.of else self.quantity


class Thinning:
    """A series that is made while a soak goes on, and never grows beyond a bound."""

    def __init__(self, quantity: str, of: str, unit: str) -> None:
        self._named = (quantity, of, unit)
        # Time, mean, lowest, highest; each of so many samples but for the last.
        self._points: list[tuple[float, float, float, float]] = []
        self._each = 1
        self._open: list[tuple[float, float]] = []
        self._samples = 0

    def add(self, at: float, value: float) -> None:
        """Take a sample."""
        self._samples += 1
        self._open.append((at, value))
        if len(self._open) == self._each:
            self._points.append(_point(self._open))
            self._open = []
        if len(self._points) > 2 * MOST_POINTS:
            self._points = [
                (
                    (one[0] + other[0]) / 2,
                    (one[1] + other[1]) / 2,
                    min(one[2], other[2]),
                    max(one[3], other[3]),
                )
                for one, other in zip(self._points[::2], self._points[1::2], strict=False)
            ]
            self._each *= 2

    def watched(self) -> Watched:
        """The series so far."""
        points = self._points + ([_point(self._open)] if self._open else [])
        size = max(1, math.ceil(len(points) / MOST_POINTS))
        groups = [points[at : at + size] for at in range(0, len(points), size)]
        return Watched(
            *self._named,
            times=tuple(round(_mean([it[0] for it in group]), 3) for group in groups),
            values=tuple(round(_mean([it[1] for it in group]), 6) for group in groups),
            lows=tuple(round(min(it[2] for it in group), 6) for group in groups),
            highs=tuple(round(max(it[3] for it in group), 6) for group in groups),
            samples=self._samples,
        )


@dataclass(frozen=True)
class Answer:
    """One text that a probe was answered with.

    Attributes:
        right: whether it answers the question, by the bank's oracle.
        first_at, last_at: seconds since the load began.
    """

    text: str
    right: bool
    times: int
    first_at: float
    last_at: float


@dataclass(frozen=True)
class Probe:
    """A fixed question, and everything it was answered with, in order of first appearance."""

    name: str
    asked: int
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Tally:
    """Requests of one kind: sent, of those what should not have been, and never sent."""

    sent: int
    wrong: int
    unsent: int


@dataclass(frozen=True)
class Wrong:
    """A request, or a probe, that came out as it should not."""

    at: float
    kind: str
    what: str


@dataclass(frozen=True)
class Overstay:
    """A time in which the engine was never seen idle, and had more than clients waited for.

    Attributes:
        since, until: seconds since the load began, of the first and the last look.
        requests: the fewest in the engine at any look.
        looks: how many there were; at ``over`` of them the engine had more than clients waited
            for. At the others it need not have had less: a client's next request may have come
            while the engine was asked.
    """

    since: float
    until: float
    requests: float
    looks: int
    over: int


@dataclass(frozen=True)
class Soak:
    """A server under a mixed load for minutes, and what was watched of it meanwhile.

    Attributes:
        minutes: as asked for.
        duration: seconds from the first request to the end of the load.
        seed: of the order and the times of requests.
        request_rate: requests per second, as the profile declares it.
        wrong: the first of the requests that came out wrong.
        unseen: what could not be watched, with the reason.
        died: what is known of the engine's end; empty while it lives.
        gone: roles of processes that ended during the load.
        overstays: requests in the engine that nobody waited for.
        settled: seconds from the end of the load until no request ran or waited; None when some
            did to the last look.
        left: how many did at the last look; None where the engine does not say.
        foreign: how many ran or waited before the load began.
        log_errors: lines of the log that say ERROR; ``log_lines`` are the first of them.
        watcher: processor seconds of watching, probes left out, per second.
    """

    minutes: float
    duration: float
    seed: int
    request_rate: float
    watched: tuple[Watched, ...]
    probes: tuple[Probe, ...]
    requests: Mapping[str, Tally]
    wrong: tuple[Wrong, ...] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)
    died: str = ""
    gone: tuple[str, ...] = ()
    overstays: tuple[Overstay, ...] = ()
    settled: float | None = None
    left: float | None = None
    foreign: float = 0.0
    log_errors: int | None = None
    log_lines: tuple[str, ...] = ()
    watcher: float = 0.0

    def series(self, quantity: str) -> list[Watched]:
        """Every series of a quantity."""
        return [one for one in self.watched if one.quantity == quantity]


def as_evidence(soak: Soak) -> dict[str, Any]:
    """The soak as JSON values; :func:`soak_from` reads them back unchanged."""
    values: dict[str, Any] = _adapter().dump_python(soak, mode="json")
    return {"kind": KIND, "name": KIND, **values}


def soak_from(evidence: Mapping[str, Any]) -> Soak:
    """The soak that :func:`as_evidence` wrote.

    Raises:
        MeasurementError: it is none, a value is missing or no finite number, or a series does not
            fit itself.
    """
    from pydantic import ValidationError

    if evidence.get("kind") != KIND:
        raise MeasurementError(f"the report keeps a {evidence.get('kind')!r}, no {KIND}")
    fields = {name: value for name, value in evidence.items() if name not in ("kind", "name")}
    try:
        soak = _adapter().validate_python(fields)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MeasurementError(
            f"the soak kept in the report cannot be read: {where}: {first['msg']}"
        ) from problem
    for series in soak.watched:
        _check(series)
    return soak


def _check(series: Watched) -> None:
    where = f"the soak kept in the report: {series.name}"
    columns = (series.times, series.values, series.lows, series.highs)
    if len({len(column) for column in columns}) != 1 or not series.times:
        raise MeasurementError(f"{where}: the columns differ in length, or are empty")
    if not all(math.isfinite(number) for column in columns for number in column):
        raise MeasurementError(f"{where}: a value is no finite number")
    if any(late <= early for early, late in zip(series.times, series.times[1:], strict=False)):
        raise MeasurementError(f"{where}: its times do not ascend")
    for low, value, high in zip(series.lows, series.values, series.highs, strict=True):
        # Each is rounded on its own.
        if not low - 1e-5 <= value <= high + 1e-5:
            raise MeasurementError(f"{where}: {value} is not between {low} and {high}")


def _point(samples: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    values = [value for _, value in samples]
    return _mean([at for at, _ in samples]), _mean(values), min(values), max(values)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


@cache
def _adapter() -> TypeAdapter[Soak]:
    from pydantic import TypeAdapter

    return TypeAdapter(Soak)
