"""The offline LLM: ``vllm.LLM`` in a child process, so that pytest's own stays light."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pytest_qwenvl.engines.command import Launch, launch_environment, offline_options
from pytest_qwenvl.engines.container_state import LOOK_INTERVAL, container_is_gone
from pytest_qwenvl.engines.ending import describe_end
from pytest_qwenvl.engines.interpreter import Interpreter
from pytest_qwenvl.engines.log_following import LogFollower
from pytest_qwenvl.engines.logged import Logged
from pytest_qwenvl.engines.preparation import WORK, prepare
from pytest_qwenvl.engines.process import EngineProcess
from pytest_qwenvl.engines.server import interesting_line
from pytest_qwenvl.errors import (
    EngineDiedError,
    EngineError,
    EngineStartError,
    OfflineRequestError,
)
from pytest_qwenvl.profile import Deployment, ModelProfile
from pytest_qwenvl.profile_fields import ArgumentValue, BackendName

_E = TypeVar("_E", bound=EngineError)
ImageLoading = Literal["auto", "qwen_vl_utils", "plain"]
_WORKER = Path(__file__).with_name("offline_worker.py")
_LOOK_INTERVAL = 0.1  # seconds between looks at the log while the model loads
_DEATH_NOTICE = 5.0  # seconds from the end of its socket to the exit of a dying process
_SHUTDOWN = 15.0  # seconds for the engine to end by itself when it is no longer needed


@dataclass(frozen=True)
class Generation:
    """One answer.

    Attributes:
        finish_reason: vLLM's word: ``stop``, ``length`` …
    """

    text: str
    token_ids: tuple[int, ...]
    prompt_token_count: int
    finish_reason: str | None


class OfflineLLM(Logged):
    """A ready ``vllm.LLM`` in a child process; made by :func:`start_offline`.

    Attributes:
        process: the child.
        options: keyword arguments that ``vllm.LLM`` was given.
        image_loading: ``qwen_vl_utils`` (as the tutorial) or ``plain`` (pictures as they are).
        ready_seconds: how long it took to be ready.
    """

    def __init__(
        self, process: EngineProcess, channel: socket.socket, options: dict[str, ArgumentValue]
    ) -> None:
        self.process = process
        self.launch = process.launch
        self.log_path = process.log_path
        self.options = options
        self.image_loading = ""
        self.started_at = time.time()
        self.ready_seconds = 0.0
        self._channel = channel
        self._buffer = b""
        self._requests = 0

    @property
    def argv(self) -> tuple[str, ...]:
        """The command that was run."""
        return self.launch.argv

    def generate(
        self,
        conversations: Sequence[Sequence[Mapping[str, Any]]],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        timeout: float = 600.0,
        **sampling: Any,
    ) -> list[Generation]:
        """Answer each conversation; all are given to the engine at once.

        Args:
            conversations: each a list of messages as the OpenAI interface has them; images are
                ``image_url`` parts with a ``data:`` URL, or ``{"type": "image", "image": PATH}``.
            sampling: further fields of ``vllm.SamplingParams``. The model's generation config is
                not applied, as in the tutorial; a server applies it.
            timeout: seconds for all answers together.

        Raises:
            OfflineRequestError: the engine refused, and goes on working.
            EngineDiedError: it is gone, with its log's tail.
            EngineError: no answer in time; the engine was ended, since it cannot be asked again.
        """
        self.check_alive()
        self._requests += 1
        fields = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed, **sampling}
        message = {"id": self._requests, "conversations": conversations, "sampling": fields}
        try:
            self._send(message)
            answer = self._receive(time.monotonic() + timeout)
        except TimeoutError:
            self._end(grace=2.0)
            raise self._error(
                EngineError, f"no answer within {timeout:.0f} s; the engine was ended"
            ) from None
        except OSError:
            answer = None
        except BaseException:
            # The answer may still come, so that the next request would read the wrong one.
            self._end(grace=2.0)
            raise
        if answer is None:
            raise self._death()
        if "error" in answer:
            raise OfflineRequestError(answer["error"]["kind"], answer["error"]["message"])
        return [
            Generation(
                text=one["text"],
                token_ids=tuple(one["token_ids"]),
                prompt_token_count=one["prompt_token_count"],
                finish_reason=one["finish_reason"],
            )
            for one in answer["generations"]
        ]

    def check_alive(self) -> None:
        """Raise EngineDiedError, with the log's tail, when the engine's process is gone."""
        if self.process.poll() is not None:
            raise self._death()

    def stop(self) -> None:
        """End the engine and everything it started; returns when nothing of it is left."""
        # Without its other end the program ends by itself; SIGTERM would interrupt that.
        self._hang_up()
        self.process.wait_exit(_SHUTDOWN)
        self.process.stop(grace=5.0)

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._channel.close()

    def _end(self, grace: float) -> None:
        self._hang_up()
        self.process.stop(grace)

    def _death(self) -> EngineDiedError:
        status = self.process.wait_exit(_DEATH_NOTICE)
        if status is None:
            gone = container_is_gone(self.launch)
            self._end(grace=2.0)
            what = "is gone: its container ended" if gone else "closed its socket and was ended"
            return self._error(EngineDiedError, what)
        return self._error(EngineDiedError, f"is gone: it ended with {describe_end(self.process)}")

    def _error(self, kind: type[_E], what: str) -> _E:
        return kind(
            f"the offline engine of {self.options['model']}: {what}",
            log_path=self.log_path,
            log_tail=self.log_tail(),
            argv=self.argv,
        )

    def _send(self, message: object) -> None:
        self._channel.settimeout(None)
        self._channel.sendall(json.dumps(message).encode() + b"\n")

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        """The next message; None when the other side hung up; TimeoutError at ``deadline``."""
        while b"\n" not in self._buffer:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            self._channel.settimeout(min(remaining, LOOK_INTERVAL))
            try:
                chunk = self._channel.recv(1 << 16)
            except TimeoutError:
                if remaining > LOOK_INTERVAL and container_is_gone(self.launch):
                    return None
                continue
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


def offline_launch(
    profile: ModelProfile,
    deployment: Deployment,
    *,
    interpreter: Interpreter,
    weights: str | Path,
    backend: BackendName,
    devices: tuple[int, ...],
    descriptor: int | None,
    mask: str | None = None,
    modelscope: bool = False,
    extra_environment: Mapping[str, str] | None = None,
) -> Launch:
    """The command that runs the worker, with the deployment's environment.

    Args:
        descriptor: the socket it inherits to talk over; None for standard input and output.
    """
    environment = launch_environment(
        profile,
        deployment,
        backend=backend,
        weights=weights,
        devices=devices,
        mask=mask,
        modelscope=modelscope,
        extra_environment=extra_environment,
        versions=interpreter.engine_versions,
    )
    channel = () if descriptor is None else (str(descriptor),)
    return Launch((str(interpreter.path), str(_WORKER), *channel), environment)


def start_offline(
    profile: ModelProfile,
    deployment: Deployment,
    *,
    interpreter: Interpreter,
    weights: str | Path,
    backend: BackendName,
    devices: tuple[int, ...],
    run_directory: Path,
    progress: Callable[[str], None] = lambda line: None,
    mask: str | None = None,
    modelscope: bool = False,
    extra_environment: Mapping[str, str] | None = None,
    image_loading: ImageLoading = "auto",
    contain: Callable[[Launch], Launch] | None = None,
) -> OfflineLLM:
    """Start ``vllm.LLM`` for a deployment in a child process and return when it is ready.

    Args:
        weights: a directory, or the hub's id.
        devices: leased devices, as indices into what the caller may see (``mask``).
        run_directory: folder for ``offline.log`` and what the engine needs; made if absent.
        progress: called with what the log says of loading and warming up.
        image_loading: ``auto`` takes ``qwen_vl_utils`` where the interpreter has it, as the
            tutorial does, and else hands the pictures over as they are; the two differ only in
            who resizes a picture.
        contain: makes the command one that runs in a container.

    Raises:
        EngineStartError: it exited, or hung for ``deployment.start_timeout`` seconds.
    """
    environment = prepare(run_directory, interpreter, backend, extra_environment)
    options = offline_options(
        profile,
        deployment,
        backend=backend,
        weights=weights,
        versions=interpreter.engine_versions,
    )
    ours, theirs = socket.socketpair()
    begun = time.monotonic()
    log_path = run_directory / "offline.log"
    try:
        launch = offline_launch(
            profile,
            deployment,
            interpreter=interpreter,
            weights=weights,
            backend=backend,
            devices=devices,
            descriptor=None if contain else theirs.fileno(),
            mask=mask,
            modelscope=modelscope,
            extra_environment=environment,
        )
        process = EngineProcess.start(
            contain(launch) if contain else launch,
            log_path=log_path,
            working_directory=run_directory / WORK,
            # No descriptor but the standard ones comes through into a container.
            descriptors=() if contain else (theirs.fileno(),),
            channel=theirs.fileno() if contain else None,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    llm = OfflineLLM(process, ours, options)

    def show(line: str) -> None:
        text = interesting_line(line)
        if text:
            progress(text)

    follower = LogFollower(log_path, show)
    order = {
        "options": options,
        "image_loading": image_loading,
        "patch_size": profile.image.patch_size,
    }
    try:
        _await_ready(llm, order, begun + deployment.start_timeout, follower)
    except BaseException as error:
        llm._end(grace=2.0)
        if isinstance(error, TimeoutError):
            what = f"hung: not ready within {deployment.start_timeout:.0f} s and was ended"
        elif isinstance(error, EngineDiedError):
            what = f"ended with {describe_end(process)} before it was ready"
        else:
            raise
        follower.look(last=True)
        raise llm._error(EngineStartError, f"did not start: {what}") from error
    llm.ready_seconds = time.monotonic() - begun
    return llm


def _await_ready(llm: OfflineLLM, order: object, deadline: float, follower: LogFollower) -> None:
    answer: dict[str, Any] | None = None
    try:
        llm._send(order)
        while answer is None:
            try:
                answer = llm._receive(min(time.monotonic() + _LOOK_INTERVAL, deadline))
                if answer is None:
                    raise llm._death()
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise
            follower.look()
    except ConnectionError:
        raise llm._death() from None
    llm.image_loading = answer["image_loading"]
