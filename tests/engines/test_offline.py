from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pytest_qwenvl.engines.endpoint import tiny_picture
from pytest_qwenvl.engines.offline import (
    Generation,
    OfflineLLM,
    start_offline,
)
from pytest_qwenvl.errors import EngineDiedError, EngineError, EngineStartError, OfflineRequestError
from tests.engines.support import fake_environment, fake_interpreter, is_alive, make_profile

Start = Callable[..., OfflineLLM]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[OfflineLLM] = []

    def start(behaviour: str = "", timeout: float = 120.0, **options: Any) -> OfflineLLM:
        profile = make_profile()
        deployment = profile.deployment("offline-1npu").model_copy(
            update={"start_timeout": timeout}
        )
        arguments = {
            "interpreter": fake_interpreter(),
            "weights": "Qwen/Tiny",
            "backend": "npu",
            "devices": (0,),
            "run_directory": tmp_path / "run",
            "extra_environment": fake_environment(behaviour),
        }
        llm = start_offline(profile, deployment, **{**arguments, **options})
        started.append(llm)
        return llm

    yield start
    for llm in started:
        llm.stop()


def say(text: str, *images: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]


def test_answers_in_the_order_of_the_questions(start, tmp_path):
    llm = start()
    assert llm.options["limit_mm_per_prompt"] == {"image": 2, "video": 0}
    assert llm.image_loading == "plain"
    assert llm.ready_seconds > 0
    system = {"role": "system", "content": "be brief"}
    path = tmp_path / "picture.png"
    Image.new("RGB", (30, 20)).save(path)
    first, second = llm.generate(
        [
            [system, {"role": "user", "content": "hello"}],
            say(
                "which?",
                {"type": "image_url", "image_url": {"url": tiny_picture()}},
                {"type": "image", "image": str(path)},
            ),
        ],
        max_tokens=7,
    )
    assert first.text == "system:be brief;user:hello||7"
    assert second == Generation(
        text="user:<image><image>which?|64x64 30x20|7",
        token_ids=tuple(range(len(second.text))),
        prompt_token_count=5,
        finish_reason="stop",
    )


def test_a_refused_request_leaves_the_engine_alive(start):
    llm = start()
    image = {"type": "image_url", "image_url": {"url": tiny_picture()}}
    with pytest.raises(OfflineRequestError, match=r"ValueError: At most 2 image\(s\)") as caught:
        llm.generate([say("what?", image, image, image)], max_tokens=1)
    assert caught.value.kind == "ValueError"
    assert llm.generate([say("and now?")], max_tokens=1)[0].text == "user:and now?||1"


@pytest.mark.parametrize(
    ("part", "saying"),
    [
        ({"type": "video", "video": "x"}, "content part of type 'video'"),
        ({"type": "image", "image": "https://example.com/x.png"}, "only data: URLs and local"),
        ({"type": "image", "image": "/nonexistent.png"}, "FileNotFoundError"),
        (
            {"type": "image", "image": "data:image/png;base64," + base64.b64encode(b"x").decode()},
            "UnidentifiedImageError",
        ),
    ],
)
def test_what_the_worker_cannot_read(start, part, saying):
    llm = start()
    with pytest.raises(OfflineRequestError, match=saying):
        llm.generate([say("what?", part)], max_tokens=1)
    llm.check_alive()


def test_unknown_sampling_parameter(start):
    with pytest.raises(OfflineRequestError, match=r"TypeError.*top_q"):
        start().generate([say("hello")], max_tokens=1, top_q=1)


def test_death_while_generating(start):
    llm = start()
    with pytest.raises(EngineDiedError, match="exit code 7") as caught:
        llm.generate([say("please die")], max_tokens=1)
    assert "fake engine: dying" in str(caught.value)
    with pytest.raises(EngineDiedError):
        llm.generate([say("hello")], max_tokens=1)


def test_no_answer_in_time_ends_the_engine(start):
    llm = start()
    with pytest.raises(EngineError, match="no answer within 1 s; the engine was ended"):
        llm.generate([say("please hang")], max_tokens=1, timeout=1.0)
    assert not is_alive(llm.process.pid)
    with pytest.raises(EngineDiedError):
        llm.check_alive()


@pytest.mark.parametrize("code", [0, 1])
def test_an_engine_that_exits_at_once(start, code):
    with pytest.raises(EngineStartError, match=f"exit code {code} before it was ready") as caught:
        start(f"exit:{code}")
    assert "fake engine: giving up" in str(caught.value)


def test_an_engine_that_hangs(start):
    with pytest.raises(EngineStartError, match="hung: not ready within 3 s"):
        start("hang", timeout=3.0)


def test_an_interrupt_while_starting_leaves_nothing(start, tmp_path):
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt, match="Starting to load model Qwen/Tiny"):
        start("hang", progress=interrupt)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_alive(int(entry.name)):
            try:
                assert not (entry / "cwd").resolve().is_relative_to(tmp_path)
            except OSError:
                continue


def test_stop_lets_it_end_by_itself(start):
    llm = start()
    llm.stop()
    assert llm.process.exit_status == 0
    assert llm.log_tail().endswith("fake engine: shut down")
    assert llm.process.pids() == []
