"""Attaching to servers of any engine: what is asked of them, and what is said when it fails."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from pytest_qwenvl.engines.attached import attach_server
from pytest_qwenvl.errors import UsageProblem
from tests.engines.scripted import CHAT, HELLO, models, scripted

HEALTHY = {"GET /health": (200, "")}
REFUSED = (404, {"error": {"message": "The model `tiny` does not exist."}})


@pytest.mark.parametrize(
    ("listed", "name"),
    [(("tiny",), "tiny"), (("other",), "other"), (("other", "tiny"), "tiny")],
)
def test_the_model_is_found_without_a_warm_up(listed, name):
    with scripted({**HEALTHY, "GET /v1/models": models(*listed)}) as server:
        assert attach_server(server.url, expected="tiny").model == name
        assert server.lines == ["GET /health", "GET /v1/models"]


def test_a_server_of_another_engine_without_health():
    with scripted({"GET /v1/models": models("tiny")}) as server:
        assert attach_server(server.url, expected="tiny").model == "tiny"


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"GET /health": (503, "")},
        {**HEALTHY, "GET /v1/models": (500, "oops")},
        {**HEALTHY, "GET /v1/models": models()},
        {**HEALTHY, "GET /v1/models": (200, {"data": "all"})},
        {"GET /health": (500, ""), "GET /v1/models": models("tiny")},
    ],
)
def test_a_server_that_answers_is_ready_whatever_else_it_says(script):
    with scripted({**script, CHAT: (200, HELLO)}) as server:
        assert attach_server(server.url, expected="tiny").model == "tiny"
        assert server.lines == ["GET /health", "GET /v1/models", CHAT]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({}, ["/health answered HTTP 404", "without a list of models", "Not Found"]),
        ({"GET /health": (503, "")}, ["/health answered HTTP 503", "wait until it is ready"]),
        (
            {**HEALTHY, "GET /v1/models": models()},
            ["does not serve 'tiny'", "/v1/models lists nothing", "--served-model-name"],
        ),
    ],
)
def test_a_server_that_serves_nothing_is_told(script, said):
    with (
        scripted({CHAT: REFUSED, **script}) as server,
        pytest.raises(UsageProblem) as caught,
    ):
        attach_server(server.url, expected="tiny")
    for part in said:
        assert part in str(caught.value)


def test_one_of_several_models_must_be_named():
    script: dict[str, Any] = {**HEALTHY, "GET /v1/models": models("a", "b"), CHAT: (200, HELLO)}
    with scripted(script) as server:
        with pytest.raises(UsageProblem, match=r"serves a, b; say which .* --served-model-name"):
            attach_server(server.url, expected="tiny")
        assert attach_server(server.url, expected="tiny", model="b").model == "b"
        assert CHAT not in server.lines
        # An alias that is not listed is believed when it is answered for.
        assert attach_server(server.url, expected="tiny", model="c").model == "c"
        server.script[CHAT] = REFUSED
        with pytest.raises(UsageProblem, match=r"does not serve 'd'.*/v1/models lists a, b"):
            attach_server(server.url, expected="tiny", model="d")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told_and_never_shown(status):
    with scripted({"GET /health": (status, "who?")}) as server:
        with pytest.raises(UsageProblem, match=f"HTTP {status}: it wants a key.*--api-key-env"):
            attach_server(server.url, expected="tiny")
        with pytest.raises(UsageProblem, match=r"refuses the key in \$KEY") as caught:
            attach_server(server.url, expected="tiny", api_key="hidden", api_key_env="KEY")
        assert "hidden" not in str(caught.value)
        assert server.seen[-1].headers["Authorization"] == "Bearer hidden"


def test_a_key_that_only_the_api_wants():
    script = {**HEALTHY, "GET /v1/models": (401, "who?"), CHAT: (401, "who?")}
    with scripted(script) as server, pytest.raises(UsageProblem, match="it wants a key"):
        attach_server(server.url, expected="tiny")


def test_a_server_that_moved():
    with (
        scripted(HEALTHY) as there,
        scripted({"GET /health": (307, f"{there.url}/health")}) as here,
        pytest.raises(UsageProblem, match=f"{here.url} redirects to {there.url}; give that URL"),
    ):
        attach_server(here.url, expected="tiny")


def test_a_server_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
    with pytest.raises(UsageProblem, match=f"--endpoint {url} cannot be reached"):
        attach_server(url, expected="tiny")


def test_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UsageProblem, match="did not answer within 0 s"):
            attach_server(url, expected="tiny", timeout=0.2)


def test_http_where_the_server_speaks_something_else():
    with scripted(HEALTHY) as server, pytest.raises(UsageProblem, match=r"certificate|reached"):
        attach_server(server.url.replace("http", "https"), expected="tiny")
