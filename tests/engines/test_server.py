from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.engines.ending import describe_exit
from pytest_qwenvl.engines.server import Server, attach_server, interesting_line, start_server
from pytest_qwenvl.errors import EngineDiedError, EngineStartError, UsageProblem
from tests.engines.support import fake_environment, fake_interpreter, is_alive, make_profile

Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server of the given behaviour; what was started is stopped at the end."""
    started: list[Server] = []

    def start(behaviour: str = "", timeout: float = 120.0, **options: Any) -> Server:
        profile = make_profile()
        deployment = profile.deployment("serve-1npu").model_copy(update={"start_timeout": timeout})
        arguments = {
            "interpreter": fake_interpreter(),
            "weights": "Qwen/Tiny",
            "backend": "npu",
            "devices": (0,),
            "run_directory": tmp_path / "run",
            "extra_environment": fake_environment(behaviour),
        }
        server = start_server(profile, deployment, **{**arguments, **options})
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


def assert_no_process_left(folder: Path) -> None:
    """None whose working directory is below ``folder``."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").resolve().is_relative_to(folder):
                assert not is_alive(int(entry.name)), (entry / "cmdline").read_bytes()
        except OSError:
            continue


def test_a_ready_server(start, tmp_path):
    server = start()
    assert server.base_url == f"http://127.0.0.1:{server.port}"
    assert server.model == "Qwen/Tiny"
    assert server.log_path == tmp_path / "run" / "server.log"
    assert server.argv[1:5] == ("-m", "vllm.entrypoints.cli.main", "serve", "Qwen/Tiny")
    assert server.ready_seconds > 0
    assert server.process.pids() == [server.process.pid]
    assert server.request("GET", "/v1/models").json() == {"data": [{"id": "Qwen/Tiny"}]}
    server.check_alive()
    server.stop()
    assert server.process.exit_status == 0
    assert server.process.pids() == []


def test_it_is_reached_past_a_proxy(start, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://192.0.2.1:9")
    assert start().request("GET", "/health").status_code == 200


def test_the_librarys_client(start):
    with start().openai_client() as client:
        assert client.max_retries == 0
        answer = client.chat.completions.create(
            model="Qwen/Tiny", messages=[{"role": "user", "content": "hello"}]
        )
    assert answer.choices[0].message.content == "Bearer EMPTY"


def test_the_callers_key_is_sent(start, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    server = start()
    body = {"model": server.model, "messages": [{"role": "user", "content": "hello"}]}
    answer = server.request("POST", "/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "Bearer secret"
    assert "secret" not in server.launch.shell_line()
    own = server.request("POST", "/v1/chat/completions", json=body, headers={"authorization": "x"})
    assert own.json()["choices"][0]["message"]["content"] == "x"


def test_503_is_not_ready(start):
    server = start("late")
    assert server.log_since(0).count("health look") == 3


@pytest.mark.parametrize("code", [0, 1])
def test_an_engine_that_exits_at_once(start, tmp_path, code):
    with pytest.raises(EngineStartError, match=f"exit code {code} before it was ready") as caught:
        start(f"exit:{code}")
    assert "fake engine: giving up" in str(caught.value)
    assert caught.value.log_path == tmp_path / "run" / "server.log"
    assert "serve" in caught.value.argv
    assert_no_process_left(tmp_path)


@pytest.mark.parametrize(
    ("behaviour", "saying"),
    [
        ("hang", r"hung: not ready within 3 s \(no answer from /health yet\)"),
        ("deaf", r"hung: /health said 200, but the first request failed"),
    ],
)
def test_an_engine_that_hangs(start, tmp_path, behaviour, saying):
    with pytest.raises(EngineStartError, match=saying):
        start(behaviour, timeout=3.0)
    assert_no_process_left(tmp_path)


@pytest.mark.parametrize(
    ("behaviour", "saying"),
    [
        ("wrong-name", "/v1/models lists somebody/else, not Qwen/Tiny"),
        ("refuse-image", "first image request was answered with HTTP 500.*no image processor"),
    ],
)
def test_an_engine_that_answers_wrongly(start, tmp_path, behaviour, saying):
    with pytest.raises(EngineStartError, match=saying):
        start(behaviour)
    assert_no_process_left(tmp_path)


def test_death_in_mid_request(start):
    server = start()
    body = {"model": server.model, "messages": [{"role": "user", "content": "please die"}]}
    with pytest.raises(EngineDiedError, match="exit code 9") as caught:
        server.request("POST", "/v1/chat/completions", json=body)
    assert "fake engine: dying" in str(caught.value)
    with pytest.raises(EngineDiedError):
        server.request("GET", "/health")
    with pytest.raises(EngineDiedError):
        server.check_alive()


def test_stop_leaves_nothing_of_a_stubborn_family(start, tmp_path, monkeypatch):
    server = start("family")
    assert len(server.process.pids()) == 5
    server.process.stop(grace=0.2)
    assert server.process.pids() == []
    assert_no_process_left(tmp_path)


def test_a_taken_port(start):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EngineStartError, match=f"port {port} of 127.0.0.1 is taken"):
            start(port=port)


def test_a_port_taken_while_the_engine_starts(start, monkeypatch):
    from pytest_qwenvl.engines import server as module

    thieves = []

    def reserve_and_lose(host: str, port: int) -> Any:
        reserved = original(host, port)
        thief = socket.socket()
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind((host, reserved.port))
        thief.listen()
        thieves.append(thief)
        return reserved

    original = module.reserve_port
    monkeypatch.setattr(module, "reserve_port", reserve_and_lose)
    try:
        # The thief accepts and never answers, so the only way to know is the engine's exit.
        with pytest.raises(EngineStartError, match=r"port \d+ of 127.0.0.1 was taken by another"):
            start()
    finally:
        for thief in thieves:
            thief.close()


def test_an_interrupt_while_starting_leaves_nothing(start, tmp_path):
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt, match="Starting to load model Qwen/Tiny"):
        start("hang", progress=interrupt)
    assert_no_process_left(tmp_path)


def test_two_servers_do_not_meet(start, tmp_path):
    one = start()
    other = start(run_directory=tmp_path / "other")
    assert one.port != other.port
    one.stop()
    assert other.request("GET", "/health").status_code == 200


def test_attached(start):
    server = start()
    attached = attach_server(server.base_url, expected="tiny", api_key="secret")
    assert attached.model == "Qwen/Tiny"
    assert attached.process is None
    body = {"model": attached.model, "messages": [{"role": "user", "content": "hello"}]}
    answer = attached.request("POST", "/v1/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["content"] == "Bearer secret"
    attached.stop()
    server.check_alive()


def test_attached_to_nothing():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with pytest.raises(UsageProblem, match=f"http://127.0.0.1:{port} cannot be reached"):
        attach_server(f"http://127.0.0.1:{port}", expected="tiny")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "(Worker pid=7) INFO 11-22 16:49:34 [default_loader.py:501] Loading weights took 7 s",
            "Loading weights took 7 s",
        ),
        (
            "(APIServer pid=7) INFO:     Application startup complete.",
            "Application startup complete.",
        ),
        ("INFO 01-01 00:00:00 [x.py:1] Using max model len 4096", None),
        ("", None),
    ],
)
def test_what_is_shown_of_a_log(line, said):
    assert interesting_line(line) == said


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit code 0"), (1, "exit code 1"), (-9, "signal 9 (SIGKILL)"), (-99, "signal 99")],
)
def test_exit_in_words(status, words):
    assert describe_exit(status) == words


def test_the_callers_environment_is_left_alone(start):
    before = dict(os.environ)
    start()
    assert dict(os.environ) == before
