"""The same against real vLLM on the CPU, in the shared engine environment.

``QWENVL_TEST_ENGINE_PYTHON`` names another interpreter.
``QWENVL_TEST_CHECKPOINT`` names a Qwen3-VL checkpoint other than the reference one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_qwenvl.engines.cpu.install import installed_interpreter
from pytest_qwenvl.engines.endpoint import tiny_picture
from pytest_qwenvl.engines.interpreter import Interpreter, probe
from pytest_qwenvl.engines.offline import start_offline
from pytest_qwenvl.engines.server import Server, start_server
from pytest_qwenvl.errors import EngineDiedError, EngineStartError, OfflineRequestError
from tests.engines.support import is_alive, make_profile, wait_until

pytestmark = pytest.mark.engine

REFERENCE = Path(__file__).parents[2] / "fixtures" / "checkpoints" / "qwen3-vl-tiny"
PICTURE = {"type": "image_url", "image_url": {"url": tiny_picture()}}


@pytest.fixture(scope="module")
def interpreter() -> Interpreter:
    path = os.environ.get("QWENVL_TEST_ENGINE_PYTHON") or installed_interpreter()
    if not path:
        pytest.skip("no engine environment: python -m pytest_qwenvl.engines.cpu.install builds it")
    return probe(Path(path))


@pytest.fixture(scope="module")
def weights() -> Path:
    path = Path(os.environ.get("QWENVL_TEST_CHECKPOINT", REFERENCE))
    if not (path / "config.json").is_file():
        pytest.skip(f"no checkpoint in {path}")
    return path


@pytest.fixture(scope="module")
def server(
    interpreter: Interpreter, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    server = serve("serve-1npu", interpreter, weights, tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


def serve(name: str, interpreter: Interpreter, weights: Path, folder: Path) -> Server:
    profile = make_profile()
    deployment = profile.deployment(name)
    return start_server(
        profile,
        deployment,
        interpreter=interpreter,
        weights=weights,
        backend="cpu",
        devices=tuple(range(deployment.npus)),
        run_directory=folder,
    )


def ask(server: Server, images: int) -> Any:
    content = [PICTURE] * images + [{"type": "text", "text": "What is it?"}]
    body = {
        "model": server.model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 4,
        "temperature": 0,
    }
    return server.request("POST", "/v1/chat/completions", json=body)


def test_what_is_served(server):
    assert server.request("GET", "/health").status_code == 200
    listed = server.request("GET", "/v1/models").json()["data"]
    assert [model["id"] for model in listed] == ["Qwen/Tiny"]
    assert listed[0]["max_model_len"] == 4096


def test_images_up_to_the_limit_and_one_more(server):
    for images in (0, 1, 3):
        answer = ask(server, images)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] >= 1
    refused = ask(server, 4)
    assert refused.status_code == 400
    assert "At most 3 image(s)" in refused.text
    assert ask(server, 1).status_code == 200


def test_a_second_server_on_the_same_port_does_not_start(server, interpreter, weights, tmp_path):
    profile = make_profile()
    with pytest.raises(EngineStartError, match=f"port {server.port} of 127.0.0.1 is taken"):
        start_server(
            profile,
            profile.deployment("serve-1npu"),
            interpreter=interpreter,
            weights=weights,
            backend="cpu",
            devices=(0,),
            run_directory=tmp_path,
            port=server.port,
        )


def test_two_devices_and_a_killed_part(interpreter, weights, tmp_path):
    server = serve("serve-2npu", interpreter, weights, tmp_path)
    try:
        assert ask(server, 2).status_code == 200
        assert "world_size=2" in server.log_since(0)
        family = server.process.pids()
        parts = [pid for pid in family if "Worker" in " ".join(psutil.Process(pid).cmdline())]
        assert len(parts) == 2, [psutil.Process(pid).cmdline() for pid in family]
        psutil.Process(parts[0]).kill()
        # vLLM ends the server when a worker is gone; whoever asks hears of it.
        assert server.process.wait_exit(120) is not None
        with pytest.raises(EngineDiedError, match="is gone"):
            ask(server, 1)
        wait_until(lambda: not any(map(is_alive, family)), "the end of the whole family")
    finally:
        server.stop()


def test_offline(interpreter, weights, tmp_path):
    profile = make_profile()
    llm = start_offline(
        profile,
        profile.deployment("offline-1npu"),
        interpreter=interpreter,
        weights=weights,
        backend="cpu",
        devices=(0,),
        run_directory=tmp_path,
    )
    try:

        def question(text: str, images: int) -> list[dict[str, Any]]:
            content = [PICTURE] * images + [{"type": "text", "text": text}]
            return [{"role": "user", "content": content}]

        both = [question("Which?", 2), question("Say something.", 0)]
        answers = llm.generate(both, max_tokens=4)
        assert [len(answer.token_ids) <= 4 for answer in answers] == [True, True]
        assert all(answer.finish_reason in {"stop", "length"} for answer in answers)
        # A picture of 64x64 is enlarged to 96x96, 9 tokens, with a start and an end around it.
        alone = llm.generate([question("Which?", 0)], max_tokens=4)[0]
        assert answers[0].prompt_token_count == alone.prompt_token_count + 22
        assert llm.generate(both, max_tokens=4) == answers
        with pytest.raises(OfflineRequestError, match=r"At most 2 image\(s\)"):
            llm.generate([question("Which?", 3)], max_tokens=4)
        assert llm.generate(both, max_tokens=4) == answers
        family = llm.process.pids()
    finally:
        llm.stop()
    assert not any(map(is_alive, family))


def test_broken_weights(interpreter, weights, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(weights, broken)
    (broken / "config.json").write_text("{ this is no JSON")
    with pytest.raises(EngineStartError, match="exit code 1 before it was ready") as caught:
        serve("serve-1npu", interpreter, broken, tmp_path / "run")
    assert "config.json" in caught.value.log_tail
