"""Runs in the engine's interpreter: lm-eval, which also keeps why answers ended, and pictures.

``lm_eval_worker.py FILE METRIC ARGUMENTS…`` is ``lm_eval ARGUMENTS…`` with more results: FILE gets
a JSON line an answer, with the digest of its prompt, its text and the engine's finish reason, which
lm-eval's own samples lack, or with the error of a request that a server did not answer;
``pictures/`` beside FILE gets a small copy of each picture that was asked about, named by the
digest that the samples have of it; standard output gets lines that tell the score of METRIC so far.
Imports nothing of this package, whose dependencies the engine's interpreter need not have.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import functools
import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LONGEST_SIDE = 256
"""Pixels: larger pictures are kept smaller."""
SERVED_HARNESS = "local-chat-completions"
_LINE_SECONDS = 1.0

Answered = Callable[[Any, str, str], None]
"""Takes the pictures of a request, its prompt and its answer."""


class ScoreSoFar:
    """The score of the answers that are there, told while others are still awaited.

    Each answer is judged as the task will judge it in the end. What cannot be judged so is not
    counted, and no error of it reaches the evaluation.

    Args:
        metric: lm-eval's key, ``NAME,FILTER``.
        tell: takes a line for whoever watches.
    """

    def __init__(
        self,
        metric: str,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, _, self._filter = metric.partition(",")
        self._tell = tell
        self._clock = clock
        self._waiting: dict[Any, list[tuple[Any, Any]]] = {}
        self._expected = self._done = 0
        self._sum = 0.0
        self._told = clock()

    def expect(self, task: Any) -> None:
        """Take in the items of a task."""
        for instance in task.instances:
            pictures = instance.args[2].get("visual") if len(instance.args) > 2 else None
            key = _key(pictures, getattr(instance.args[0], "prompt", instance.args[0]))
            self._waiting.setdefault(key, []).append((task, instance))
            self._expected += 1

    def answered(self, pictures: Any, prompt: str, answer: str) -> None:
        """Take in an answer; tell the score when the last time is a second ago."""
        its = self._waiting.get(_key(pictures, prompt))
        if not its:
            return
        self._sum += self._score(*its.pop(0), answer)
        self._done += 1
        now = self._clock()
        if now - self._told >= _LINE_SECONDS or self._done == self._expected:
            self._told = now
            score = self._sum / self._done
            self._tell(f"evaluated {self._done} of {self._expected}, score so far {score:.4f}")

    def _score(self, task: Any, instance: Any, answer: str) -> float:
        alone = copy.copy(instance)
        alone.resps, alone.filtered_resps = [answer], {}
        # A task that guesses where it cannot read must guess in the end as it would have.
        state = random.getstate()
        try:
            for one in task._filters:
                one.apply([alone])
            filtered = alone.filtered_resps[self._filter]
            return float(task.process_results(alone.doc, [filtered])[self._name])
        finally:
            random.setstate(state)


def _key(pictures: Any, prompt: str) -> Any:
    """What tells items apart: the very first picture, since many share their words."""
    return (id(pictures[0]) if pictures else None, None if pictures else prompt)


def write_down(generate: Any, path: Path, answered: Answered | None = None) -> Any:
    """``VLLM_VLM._multimodal_model_generate``, with a line in ``path`` for each of its outputs."""

    def generate_and_write(self: Any, requests: Any = None, *args: Any, **kwargs: Any) -> Any:
        watch = _Finished(requests or [], answered)
        with watch.steps_of(getattr(self, "model", None)):
            outputs = generate(self, requests, *args, **kwargs)
        for index, (request, output) in enumerate(zip(requests or [], outputs, strict=True)):
            answer = output.outputs[0]
            _write(path, request["prompt"], answer=answer.text, finish_reason=answer.finish_reason)
            watch.finished(index, answer.text)
        return outputs

    return generate_and_write


class _Finished:
    """Hands on each answer of a batch once: when the engine has it, else when the batch ends."""

    def __init__(self, requests: Any, answered: Answered | None) -> None:
        self._requests = requests
        self._answered = answered
        self._told: set[int] = set()

    def finished(self, index: int, answer: str) -> None:
        if self._answered is None or index in self._told:
            return
        self._told.add(index)
        request = self._requests[index]
        pictures = (request.get("multi_modal_data") or {}).get("image")
        with contextlib.suppress(Exception):
            self._answered(pictures, request["prompt"], answer)

    @contextlib.contextmanager
    def steps_of(self, llm: Any) -> Iterator[None]:
        """Look at what each step of the engine finishes, where this vLLM lets one look.

        With ``batch_size="auto"`` the whole task is one batch, which would tell nothing for long.
        """
        try:
            engine, first = llm.llm_engine, int(llm.request_counter.counter)
            step = engine.step
        except (AttributeError, TypeError, ValueError):
            yield
            return

        def step_and_look(*args: Any, **kwargs: Any) -> Any:
            outputs = step(*args, **kwargs)
            with contextlib.suppress(Exception):
                for output in outputs:
                    if output.finished:
                        self.finished(int(output.request_id) - first, output.outputs[0].text)
            return outputs

        engine.step = step_and_look
        try:
            yield
        finally:
            del engine.step


class ServedAnswers:
    """What lm-eval's client of a server asks and gets, written down.

    Its functions take the place of lm-eval's: ``create_image_prompt``, which joins a conversation
    and its pictures, ``amodel_call`` and ``model_call``, which send it, and ``parse_generations``,
    which reads the answer.

    Args:
        path: file that gets the lines.
    """

    def __init__(self, path: Path, answered: Answered | None = None) -> None:
        self._path = path
        self._answered = answered
        # By what is sent: the conversation without its pictures, and those.
        self._asked: dict[str, tuple[str, Any]] = {}
        self._sent = contextvars.ContextVar("sent", default="")
        self._has_failed = False

    def joining(self, create: Any) -> Any:
        """``create_image_prompt``, remembering what was joined."""

        def create_and_remember(pictures: Any, chat: Any, *args: Any, **kwargs: Any) -> Any:
            prompt = json.dumps(chat, ensure_ascii=False)
            joined = create(pictures, chat, *args, **kwargs)
            self._asked[_digest(json.dumps(joined))] = (prompt, pictures)
            return joined

        return create_and_remember

    def sending(self, call: Any) -> Any:
        """``amodel_call``, with a line for a request that was not answered."""

        async def call_and_note(model: Any, *args: Any, **kwargs: Any) -> Any:
            self._sent.set(kwargs["messages"][0].prompt)
            try:
                return await call(model, *args, **kwargs)
            except Exception as problem:
                self._failed(problem)
                raise

        return call_and_note

    def sending_one(self, call: Any) -> Any:
        """``model_call``, which lm-eval uses for one request at a time, likewise."""

        def call_and_note(model: Any, messages: Any, **kwargs: Any) -> Any:
            self._sent.set(messages[0].prompt)
            try:
                return call(model, messages=messages, **kwargs)
            except Exception as problem:
                self._failed(problem)
                raise

        return call_and_note

    def reading(self, parse: Any) -> Any:
        """``parse_generations``, with a line for the answer."""

        def parse_and_write(model: Any, outputs: Any, **kwargs: Any) -> Any:
            answers = parse(model, outputs, **kwargs)
            prompt, pictures = self._question()
            # As lm-eval does: an answer without content is an empty one.
            answer = answers[0] or ""
            reason = ""
            with contextlib.suppress(LookupError, TypeError):
                reason = outputs["choices"][0]["finish_reason"] or ""
            _write(self._path, prompt, answer=answer, finish_reason=reason)
            if self._answered is not None:
                with contextlib.suppress(Exception):
                    self._answered(pictures, prompt, answer)
            return answers

        return parse_and_write

    def _question(self) -> tuple[str, Any]:
        sent = self._sent.get()
        return self._asked.get(_digest(sent), (sent, None))

    def _failed(self, problem: Exception) -> None:
        if self._has_failed:
            # The first failure ends the evaluation, and so fails what was still on its way.
            return
        self._has_failed = True
        prompt, _ = self._question()
        _write(self._path, prompt, error=f"{type(problem).__name__}: {problem}"[:1000])


def _write(path: Path, prompt: str, **values: Any) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"prompt_digest": _digest(prompt), **values}) + "\n")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def keep_pictures(hashed: Any, folder: Path) -> Any:
    """``convert_pil_to_hash``, with a small copy in ``folder`` of every picture it hashes."""

    def hash_and_keep(picture: Any) -> Any:
        digest = hashed(picture)
        # A copy is for looking at: an evaluation is not to fail for want of one.
        with contextlib.suppress(Exception):
            small = picture.convert("RGB")
            exact = max(small.size) <= LONGEST_SIDE
            small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            folder.mkdir(exist_ok=True)
            path = folder / f"{digest}{'.png' if exact else '.jpg'}"
            if not path.exists():
                small.save(path, quality=85)
        return digest

    return hash_and_keep


def _expecting(build: Any, score: ScoreSoFar) -> Any:
    def build_and_expect(task: Any, *args: Any, **kwargs: Any) -> None:
        build(task, *args, **kwargs)
        with contextlib.suppress(Exception):
            score.expect(task)

    return build_and_expect


def _tell(line: str) -> None:
    # Progress bars leave their line open: begin one of its own.
    os.write(1, f"\n{line}\n".encode())


def main() -> None:
    """Run lm-eval as the command line says."""
    import lm_eval.utils
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.task import Task

    path, metric = Path(sys.argv[1]), sys.argv[2]
    sys.argv = ["lm_eval", *sys.argv[3:]]
    path.write_text("", encoding="utf-8")
    lm_eval.utils.convert_pil_to_hash = keep_pictures(
        lm_eval.utils.convert_pil_to_hash, path.with_name("pictures")
    )
    score = ScoreSoFar(metric, _tell)
    Task.build_all_requests = _expecting(Task.build_all_requests, score)
    if SERVED_HARNESS in sys.argv:
        from lm_eval.models import api_models
        from lm_eval.models.openai_completions import LocalChatCompletion as Client

        answers = ServedAnswers(path, score.answered)
        # A server ends a connection that idles; a request that meets the end is nobody's failure,
        # and lm-eval may be busy with judging for longer than a server waits.
        api_models.TCPConnector = functools.partial(api_models.TCPConnector, force_close=True)
        api_models.create_image_prompt = answers.joining(api_models.create_image_prompt)
        Client.amodel_call = answers.sending(Client.amodel_call)
        Client.model_call = answers.sending_one(Client.model_call)
        Client.parse_generations = answers.reading(Client.parse_generations)
    else:
        from lm_eval.models.vllm_vlms import VLLM_VLM

        VLLM_VLM._multimodal_model_generate = write_down(
            VLLM_VLM._multimodal_model_generate, path, score.answered
        )
    cli_evaluate()


if __name__ == "__main__":
    main()
