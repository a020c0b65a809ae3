"""Soaks of a few seconds against a small server with one fault: what is watched, what is judged."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import EngineDiedError
from pytest_qwenvl.measure.soak import SOAK_JUDGES
from pytest_qwenvl.measure.soak_record import Soak
from pytest_qwenvl.profile_soak import RequestKind, SoakLoad
from pytest_qwenvl.report.results import Outcome
from pytest_qwenvl.soak.load import SoakRequest
from pytest_qwenvl.soak.probes import Question
from pytest_qwenvl.soak.processes import EngineProcesses, busy_seconds
from pytest_qwenvl.soak.running import soak_server
from tests.soak.records import LOAD

SECONDS = 6.0
LONGER = 20.0
"""Of a soak in which something is to be seen growing: a busy host is looked at less often."""
PROGRAM = Path(__file__).with_name("small_server.py")
SHORT = LOAD.model_copy(
    update={
        "request_rate": 30.0,
        "minimum_sent": 0.3,
        "mix": {"text": 4.0, "stream": 2.0, "disconnect": 1.0, "malformed": 1.0},
        "watch_interval": 0.1,
        "probe_interval": 0.1,
        "request_timeout": 5.0,
        "warm_up": 0.25,
        "warm_up_minutes": 0.0,
        "settle_seconds": 0.5,
        "stuck_seconds": 3.0,
        "host_busy": 1.0,
    }
)


class Started(Endpoint):
    """The small server, which can be seen to die."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        super().__init__(url, "m")
        self.process = process

    def check_alive(self, patience: float = 0.0) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        if self.process.returncode is not None:
            raise EngineDiedError(f"it ended with {self.process.returncode}")


@contextlib.contextmanager
def small_server(folder: Path, fault: str) -> Iterator[Started]:
    port = folder / "port"
    process = subprocess.Popen([sys.executable, str(PROGRAM), str(port), fault])
    try:
        while not port.exists():
            assert process.poll() is None, "the server ended before it listened"
            time.sleep(0.01)
        started = Started(f"http://127.0.0.1:{port.read_text()}", process)
        yield started
        started.stop()
    finally:
        process.kill()
        process.wait()


def draw(kind: RequestKind, drawn: random.Random) -> SoakRequest:
    del drawn
    body = {"text": b"{}", "malformed": b"{"}.get(kind, b'{"stream": true}')
    return SoakRequest(kind, body)


def soaked(folder: Path, fault: str = "", load: SoakLoad = SHORT, seconds: float = SECONDS) -> Soak:
    with small_server(folder, fault) as server:
        return soak_server(
            server,
            load,
            seconds / 60,
            seed=1,
            draw=draw,
            questions=[Question("colour", {"messages": []}, lambda text: text == "Red.")],
            processes=EngineProcesses(server.process.pid),
        )


def failed(soak: Soak, load: SoakLoad = SHORT) -> dict[str, str]:
    judgements = {name: judge(soak, load) for name, judge in SOAK_JUDGES.items()}
    return {
        name: judged.sentence
        for name, judged in judgements.items()
        if judged.outcome is Outcome.FAIL
    }


def test_a_clean_server_is_not_accused(tmp_path: Path) -> None:
    soak = soaked(tmp_path)
    assert failed(soak) == {}
    quantities = {one.quantity for one in soak.watched}
    assert quantities == {
        *("memory", "proportional memory", "descriptors", "threads", "sockets"),
        *("requests running", "requests waiting", "KV cache used", "latency"),
        "cores used by others",
    }
    assert {kind for kind, tally in soak.requests.items() if tally.sent} == set(SHORT.mix)
    assert sum(tally.wrong for tally in soak.requests.values()) == 0
    (cache,) = soak.series("KV cache used")
    assert set(cache.values) == {0.25} and cache.samples > 10
    (waiting,) = soak.series("requests waiting")
    assert set(waiting.values) == {0.0}, "a counter of a longer name is another one"
    assert soak.settled is not None and soak.left == 0
    assert soak.probes[0].answers[0].text == "Red."
    assert soak.log_errors is None, "it has no log"


@pytest.mark.parametrize(
    ("fault", "name", "said"),
    [
        ("memory", "soak-memory", "memory of API server"),
        ("descriptors", "soak-descriptors", "descriptors of API server"),
        ("threads", "soak-descriptors", "threads of API server"),
        ("stuck", "soak-requests", "1 requests still ran"),
        ("answers", "soak-answers", "'Blue.', which is wrong"),
        ("failures", "soak-survival", "HTTP 500"),
        ("streams", "soak-survival", "without [DONE]"),
        ("dies", "soak-survival", "it ended with 9"),
    ],
)
def test_a_fault_is_found(tmp_path: Path, fault: str, name: str, said: str) -> None:
    growing = name in ("soak-memory", "soak-descriptors")
    found = failed(soaked(tmp_path, fault, seconds=LONGER if growing else SECONDS))
    assert name in found
    assert said in found[name]
    assert set(found) <= {name, "soak-latency"}


def test_a_drift_is_found(tmp_path: Path) -> None:
    # A rate that leaves the processor to the probes, of which there are many.
    load = SHORT.model_copy(update={"probe_interval": 0.02, "request_rate": 15.0})
    found = failed(soaked(tmp_path, "drift", load, seconds=LONGER), load)
    assert "latency of colour" in found["soak-latency"]


def test_a_request_stuck_in_the_middle_is_seen(tmp_path: Path) -> None:
    soak = soaked(tmp_path, "stuck", SHORT.model_copy(update={"probe_interval": 0.7}))
    assert any(
        stay.until - stay.since > 2 and stay.over > stay.looks / 2 for stay in soak.overstays
    )


def test_the_same_seed_sends_the_same_requests(tmp_path: Path) -> None:
    load = SHORT.model_copy(update={"request_rate": 5.0, "most_at_once": 64})
    orders: list[list[str]] = []
    for number in range(2):
        sent: list[str] = []

        def draw_and_note(
            kind: RequestKind, drawn: random.Random, to: list[str] = sent
        ) -> SoakRequest:
            to.append(kind)
            return draw(kind, drawn)

        folder = tmp_path / str(number)
        folder.mkdir()
        with small_server(folder, "") as server:
            soak_server(server, load, 2 / 60, seed=4, draw=draw_and_note, questions=[])
        orders.append(sent)
    shorter = min(map(len, orders))
    assert shorter >= 5
    assert orders[0][:shorter] == orders[1][:shorter]


def test_a_slow_server_is_sent_no_more_than_it_may_have(tmp_path: Path) -> None:
    load = SHORT.model_copy(update={"request_rate": 100.0, "most_at_once": 2, "minimum_sent": 0.9})
    soak = soaked(tmp_path, "drift", load)
    assert sum(tally.unsent for tally in soak.requests.values()) > 0
    judged = SOAK_JUDGES["soak-survival"](soak, load)
    assert judged.outcome is Outcome.INVALID
    assert "2 were under way" in judged.sentence


def test_own_process_is_seen_as_it_is(tmp_path: Path) -> None:
    before = EngineProcesses(os.getpid()).look()[0]
    held = bytearray(b"x") * (64 << 20)
    files = [open(tmp_path / str(number), "w") for number in range(5)]  # noqa: SIM115
    after = EngineProcesses(os.getpid()).look()[0]
    for file in files:
        file.close()
    assert before.role == "API server"
    assert after.memory - before.memory == pytest.approx(64, abs=8)
    assert after.descriptors - before.descriptors == 5
    assert after.proportional is not None and after.proportional > 64
    assert after.threads >= 1 and after.processor >= before.processor
    assert len(held) == 64 << 20


def test_what_is_dear_is_looked_at_seldom() -> None:
    clock = iter([0.0, 30.0, 61.0])
    looks = EngineProcesses(os.getpid(), clock=lambda: next(clock))
    assert [looks.look()[0].proportional is None for _ in range(3)] == [False, True, False]


def test_a_host_that_tells_nothing(tmp_path: Path) -> None:
    assert busy_seconds(tmp_path) is None
    assert busy_seconds() is not None
