"""What the worker adds to lm-eval: answers of a server written down, and the score so far."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_qwenvl.engines.lm_eval_worker import ScoreSoFar, ServedAnswers, write_down
from pytest_qwenvl.live import EvaluationProgress

RED, BLUE = ["red picture"], ["blue picture"]


def joined(pictures: Any, chat: Any) -> Any:
    """As lm-eval joins a conversation and its pictures: in place."""
    content = [{"type": "image_url", "image_url": {"url": f"data:{it}"}} for it in pictures]
    chat[-1]["content"] = [*content, {"type": "text", "text": chat[-1]["content"]}]
    return chat


class Client:
    """lm-eval's client as far as the worker knows it; ``server`` answers what is sent."""

    def __init__(self, server: Callable[[str], Any], path: Path, answered: Any = None) -> None:
        answers = ServedAnswers(path, answered)
        self._server = server
        self._join = answers.joining(joined)
        self._parse = answers.reading(self._parse_generations)
        self._send = answers.sending(self._amodel_call)
        self._send_one = answers.sending_one(self._model_call)

    def ask(self, *asked: tuple[str, list[str]]) -> list[str]:
        """All at once, as lm-eval does with ``num_concurrent``."""

        async def all_of_them() -> list[Any]:
            sent = [self._message(it) for it in asked]
            return await asyncio.gather(*(self._send(self, messages=[it]) for it in sent))

        return [answers[0] for answers in asyncio.run(all_of_them())]

    def ask_one(self, asked: tuple[str, list[str]]) -> str:
        message = self._message(asked)
        answers: list[str] = self._parse(self, self._send_one(self, messages=[message]))
        return answers[0]

    def _message(self, asked: tuple[str, list[str]]) -> Any:
        chat = [{"role": "user", "content": asked[0]}]
        return SimpleNamespace(prompt=json.dumps(self._join(asked[1], chat)))

    async def _amodel_call(self, _: Any, *, messages: Any) -> Any:
        outputs = self._server(messages[0].prompt)
        # Answers come in another order than questions go.
        await asyncio.sleep(0.01 if "blue" in messages[0].prompt else 0)
        return self._parse(self, outputs)

    def _model_call(self, _: Any, *, messages: Any) -> Any:
        return self._server(messages[0].prompt)

    @staticmethod
    def _parse_generations(_: Any, outputs: Any) -> list[str | None]:
        try:
            return [it["message"]["content"] for it in outputs["choices"]]
        except (LookupError, TypeError):
            return [""]


def answer(content: str | None, reason: str | None = "stop") -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "finish_reason": reason}]}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def digest(text: str) -> str:
    import hashlib

    chat = json.dumps([{"role": "user", "content": text}], ensure_ascii=False)
    return hashlib.sha256(chat.encode()).hexdigest()


def test_one_question_about_two_pictures(tmp_path: Path) -> None:
    told: list[Any] = []
    path = tmp_path / "lines"
    client = Client(
        lambda sent: answer("Blue" if "blue" in sent else "Red", "length"),
        path,
        lambda *it: told.append(it),
    )
    assert client.ask(("Welche Farbe? ä", BLUE), ("Welche Farbe? ä", RED)) == ["Blue", "Red"]
    assert client.ask_one(("And this?", RED)) == "Red"
    colour, other = digest("Welche Farbe? ä"), digest("And this?")
    assert lines(path) == [
        {"prompt_digest": colour, "answer": "Red", "finish_reason": "length"},
        {"prompt_digest": colour, "answer": "Blue", "finish_reason": "length"},
        {"prompt_digest": other, "answer": "Red", "finish_reason": "length"},
    ]
    assert [(its[0], its[2]) for its in told] == [(RED, "Red"), (BLUE, "Blue"), (RED, "Red")]


@pytest.mark.parametrize("said", [answer(None), answer("", None), {"error": "no"}, [], None])
def test_an_answer_without_content_is_empty(tmp_path: Path, said: Any) -> None:
    Client(lambda _: said, tmp_path / "lines").ask(("What?", RED))
    (line,) = lines(tmp_path / "lines")
    assert line["answer"] == ""
    assert line["finish_reason"] == ("stop" if said == answer(None) else "")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_request_that_failed_is_written_down_and_fails(tmp_path: Path, at_once: bool) -> None:
    def refuse(_: str) -> Any:
        raise ConnectionError("503, message='Service Unavailable'")

    client = Client(refuse, tmp_path / "lines")
    for _ in range(2):
        # The second fails because the first one did.
        with pytest.raises(ConnectionError):
            client.ask(("What?", RED)) if at_once else client.ask_one(("What?", RED))
    assert lines(tmp_path / "lines") == [
        {
            "prompt_digest": digest("What?"),
            "error": "ConnectionError: 503, message='Service Unavailable'",
        }
    ]


class Task:
    """lm-eval's task as far as the worker knows it; guesses where an answer is none."""

    def __init__(self, *items: tuple[str, list[str] | None, str]) -> None:
        self._filters = [SimpleNamespace(apply=self._first)]
        self.instances = [
            SimpleNamespace(args=(prompt, {}, *([{"visual": its}] if its else [])), doc=target)
            for prompt, its, target in items
        ]

    @staticmethod
    def _first(instances: list[Any]) -> None:
        for it in instances:
            it.filtered_resps["none"] = it.resps[0]

    @staticmethod
    def process_results(target: str, answers: list[str]) -> dict[str, float]:
        if answers[0] == "broken":
            raise ValueError(answers[0])
        return {"acc": float((answers[0] or random.choice(["Red", "Blue"])) == target)}


def test_score_so_far() -> None:
    told: list[str] = []
    clock = [0.0]
    score = ScoreSoFar("acc,none", told.append, lambda: clock[0])
    score.expect(Task(("Colour?", RED, "Red"), ("Colour?", BLUE, "Blue"), ("Hello?", None, "Hi")))
    state = random.getstate()
    score.answered(BLUE, "Colour?", "Red")
    assert told == []
    clock[0] = 1.0
    score.answered(RED, "Colour?", "Red")
    assert told == ["evaluated 2 of 3, score so far 0.5000"]
    # Nobody asked that, and that was answered already.
    score.answered(None, "Who?", "Me")
    score.answered(RED, "Colour?", "Red")
    score.answered(None, "Hello?", "Hi")
    assert told[1:] == ["evaluated 3 of 3, score so far 0.6667"]
    # What the task guesses in the end is what it would have guessed.
    score.expect(Task(("Colour?", RED, "Red")))
    score.answered(RED, "Colour?", "")
    assert random.getstate() == state


class Engine:
    """vLLM's offline engine: finishes requests one a step, in another order."""

    def __init__(self, answers: dict[int, str]) -> None:
        self.llm_engine = self
        self.request_counter = SimpleNamespace(counter=10)
        self._left = [
            SimpleNamespace(
                finished=True, request_id=str(10 + index), outputs=[SimpleNamespace(text=text)]
            )
            for index, text in answers.items()
        ]

    def step(self) -> list[Any]:
        return [self._left.pop()]


@pytest.mark.parametrize("watched", [True, False])
def test_answers_of_one_large_batch_are_told_as_they_come(tmp_path: Path, watched: bool) -> None:
    told: list[str] = []
    seen_before_the_end: list[str] = []

    def generate(client: Any, requests: Any) -> list[Any]:
        if watched:
            for _ in requests:
                client.model.step()
        seen_before_the_end.extend(told)
        texts = ["Red", "broken"]
        return [
            SimpleNamespace(outputs=[SimpleNamespace(text=it, finish_reason="stop")])
            for it in texts
        ]

    def answered(pictures: Any, prompt: str, text: str) -> None:
        told.append(f"{pictures[0]} {prompt} {text}")
        raise RuntimeError("what is shown is not to end an evaluation")

    client = SimpleNamespace(model=Engine({0: "Red", 1: "broken"}) if watched else None)
    requests = [
        {"prompt": "a", "multi_modal_data": {"image": RED}},
        {"prompt": "b", "multi_modal_data": {"image": BLUE}},
    ]
    write_down(generate, tmp_path / "lines", answered)(client, requests)
    assert [it["answer"] for it in lines(tmp_path / "lines")] == ["Red", "broken"]
    both = ["red picture a Red", "blue picture b broken"]
    assert told == (both[::-1] if watched else both)
    assert seen_before_the_end == (told if watched else [])


def test_what_is_shown_of_an_evaluation() -> None:
    progress = EvaluationProgress()
    assert progress.text_after("INFO loading") == ""
    assert progress.text_after("Requesting API:  45%|█ | 54/120 [00:12<00:15, 4.4it/s]") == (
        "Requesting API: 54 of 120 done, 66 left (00:15)"
    )
    assert progress.text_after("evaluated 50 of 120, score so far 0.9800") == (
        "Requesting API: 54 of 120 done, 66 left (00:15), score so far 0.9800 (50 of 120 answers)"
    )
    assert progress.text_after("Requesting API:  50%|█ | 60/120 [00:13<00:14, 4.4it/s]") == (
        "Requesting API: 60 of 120 done, 60 left (00:14), score so far 0.9800 (50 of 120 answers)"
    )
