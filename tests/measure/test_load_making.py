"""The engine is looked at before and after a load, warmed up, and progress told."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import EngineError
from pytest_qwenvl.load_making import LoadWatch, warm_up
from pytest_qwenvl.report.progress import StepProgress
from tests.measure.loads import workload

METRICS = """\
vllm:num_requests_running{{model_name="m"}} {running}
vllm:request_success_total{{finished_reason="length",model_name="m"}} {requests}
vllm:time_to_first_token_seconds_sum{{model_name="m"}} {seconds}
vllm:time_to_first_token_seconds_count{{model_name="m"}} {requests}
"""


def metrics(requests: int = 0, running: int = 0) -> str:
    return METRICS.format(requests=requests, running=running, seconds=0.05 * requests)


class PlayedServer(Endpoint):
    """Answers with what it is told to, one after the other, the last for ever."""

    def __init__(self, *answers: str | int | Exception) -> None:
        super().__init__("http://127.0.0.1:1", "m")
        self.answers = itertools.chain(answers, itertools.repeat(answers[-1]))
        self.asked: list[tuple[str, str, Any]] = []

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        self.asked.append((method, path, kwargs.get("json")))
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.status_code = answer if isinstance(answer, int) else 200
        response._content = answer.encode() if isinstance(answer, str) else b"broken"
        return response


class Step(StepProgress):
    def __init__(self) -> None:
        super().__init__("load", None)
        self.told: list[str] = []

    def update(self, text: str) -> None:
        self.told.append(text)


def ticking(seconds: float) -> Callable[[], float]:
    clock = itertools.count(0, seconds)
    return lambda: next(clock)


def bar(done: int) -> str:
    return f" 1%|#   | {done}/60 [00:05<00:05, 6it/s]"


def test_counters_are_those_of_the_load_alone() -> None:
    server = PlayedServer(
        metrics(7, running=1), metrics(10), metrics(50), metrics(69), metrics(70), metrics(99)
    )
    step = Step()
    watch = LoadWatch(server, 60, step)
    around = watch.surroundings()
    assert around.engine is not None
    # It waited until nothing ran before, and until all sixty were counted after.
    assert around.engine["requests"] == 60
    assert around.engine["ttft_seconds"] == pytest.approx(3.0)
    assert around.host_running is None


def test_progress_tells_what_is_done_and_left_and_the_latency_so_far() -> None:
    server = PlayedServer(metrics(10), metrics(30))
    step = Step()
    watch = LoadWatch(server, 60, step, clock=ticking(3.0))
    for line in ("INFO starting", bar(0), bar(5), bar(20)):
        watch.on_line(line)
    assert step.told[0].startswith("0 of 60 done, 60 left")
    assert step.told[-1] == "20 of 60 done, 40 left (00:05), mean TTFT 50 ms"
    assert len(step.told) == 3
    # Seldom, since each look is a request that the engine answers meanwhile.
    assert len(server.asked) <= 3
    around = watch.surroundings()
    assert around.host_running is not None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (404, "/metrics answered HTTP 404"),
        ("<html>", "seen '<html>'"),
        (requests.ConnectionError("refused"), "refused"),
    ],
)
def test_metrics_that_cannot_be_read_end_nothing(answer: Any, why: str) -> None:
    watch = LoadWatch(PlayedServer(answer), 60, Step())
    watch.on_line(bar(1))
    around = watch.surroundings()
    assert around.engine is None
    assert why in around.unreadable


def test_metrics_that_are_lost_meanwhile_are_unknown() -> None:
    around = LoadWatch(PlayedServer(metrics(10), 500), 60, Step()).surroundings()
    assert around.engine is None
    assert "HTTP 500" in around.unreadable


def test_counters_that_never_come_are_not_waited_for_for_ever() -> None:
    watch = LoadWatch(PlayedServer(metrics(10), metrics(12)), 60, Step(), clock=ticking(4.0))
    around = watch.surroundings()
    assert around.engine is not None
    assert around.engine["requests"] == 2


def test_a_warm_up_that_is_refused_is_the_servers_failure() -> None:
    shape = workload(warm_ups=2, arguments={"random_input_len": 4})
    server = PlayedServer(json.dumps({}))
    warm_up(server, shape, 0, Step())
    assert [(method, path) for method, path, _ in server.asked] == [("POST", "/v1/completions")] * 2
    with pytest.raises(EngineError, match=r"a warm-up request was answered with HTTP 500: broken"):
        warm_up(PlayedServer(500), shape, 0, Step())
