"""Soaks as they might have been, for what is judged from records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pytest_qwenvl.measure.soak_record import Answer, Probe, Soak, Tally, Thinning, Watched
from pytest_qwenvl.profile_soak import SoakLoad

SECONDS = 3600.0
_TOLERATED = {"hourly": 64.0, "least": 24.0, "source": "a test's own"}
LOAD = SoakLoad.model_validate(
    {
        "request_rate": 1.0,
        "mix": {"text": 1.0},
        "sizes": [[64, 64]],
        "output_tokens": 4,
        "memory": _TOLERATED,
        "device_memory": _TOLERATED,
        "descriptors": {**_TOLERATED, "hourly": 6.0, "least": 6.0},
        "latency": {**_TOLERATED, "hourly": 0.5, "least": 0.25},
        "source": "a test's own",
    }
)


def series(
    quantity: str, of: str, value: Callable[[float], float], unit: str = "", every: float = 5.0
) -> Watched:
    """A series of an hour by what it is at each second."""
    kept = Thinning(quantity, of, unit)
    for number in range(int(SECONDS / every)):
        kept.add(number * every, value(number * every))
    return kept.watched()


def level(quantity: str, of: str = "API server", value: float = 1000.0) -> Watched:
    """A series that moves a little and stays."""
    return series(quantity, of, lambda at: value * (1 + 0.002 * (at % 35 < 15)))


def rising(quantity: str, hourly: float, of: str = "API server", value: float = 1000.0) -> Watched:
    """A series that grows by so much an hour."""
    return series(quantity, of, lambda at: value + hourly * at / 3600)


RIGHT = Probe("colour", 200, (Answer("Red.", True, 200, 1.0, 3590.0),))
QUIET = series("cores used by others", "", lambda at: 0.02)
CLEAN = Soak(
    minutes=60.0,
    duration=SECONDS,
    seed=0,
    request_rate=1.0,
    watched=(
        level("memory"),
        level("memory", "VLLM::EngineCore"),
        level("descriptors", value=80.0),
        level("threads", value=30.0),
        level("sockets", value=12.0),
        level("latency", "colour", 0.1),
        QUIET,
    ),
    probes=(RIGHT,),
    requests={"text": Tally(3500, 0, 0)},
    settled=0.5,
    left=0.0,
    log_errors=0,
    watcher=0.003,
)


def soak(*watched: Watched, **changed: Any) -> Soak:
    """A clean soak with some series in place of those of the same quantity, or other fields."""
    quantities = {one.quantity for one in watched}
    others = [one for one in CLEAN.watched if one.quantity not in quantities]
    return replace(CLEAN, watched=(*others, *watched), **changed)
