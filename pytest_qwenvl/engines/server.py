"""A served deployment: start it, know when it is ready, talk to it, end it."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_qwenvl.engines.attached import AttachedServer, attach_server
from pytest_qwenvl.engines.command import Launch, serve_launch, served_model_name
from pytest_qwenvl.engines.container_state import container_is_gone
from pytest_qwenvl.engines.ending import describe_end
from pytest_qwenvl.engines.endpoint import Endpoint, check_answers, listed_models
from pytest_qwenvl.engines.interpreter import Interpreter
from pytest_qwenvl.engines.log_following import LogFollower
from pytest_qwenvl.engines.logged import Logged
from pytest_qwenvl.engines.ports import ReservedPort, reserve_port
from pytest_qwenvl.engines.preparation import WORK, prepare
from pytest_qwenvl.engines.process import EngineProcess
from pytest_qwenvl.errors import EngineDiedError, EngineError, EngineStartError
from pytest_qwenvl.profile import Deployment, ModelProfile
from pytest_qwenvl.profile_fields import BackendName

__all__ = ["AttachedServer", "Server", "attach_server", "interesting_line", "start_server"]

_HEALTH_INTERVAL = 0.1  # seconds between two looks at /health
_HEALTH_TIMEOUT = 5.0  # seconds for one answer of /health
_CLIENT_NOTICE = 5.0  # seconds from a container's end to that of the client that waits for it
_INTERESTING = re.compile(
    r"Initializing a V\d|Starting to load model|Loading \w+ (took|weights)|Loading safetensors|"
    r"Model loading took|KV cache size|Capturing|[Gg]raph captur|[Cc]ompil|warm.?up|"
    r"Starting vLLM|Application startup complete|\bERROR\b|\bError\b",
)
_PREFIX = re.compile(
    r"^(\([^)]*\)\s*)?((INFO|WARNING|ERROR|DEBUG):?\s+([\d-]+ [\d:]+ )?)?(\[[^]]*\]\s*)?"
)


def interesting_line(line: str) -> str | None:
    """What a line of vLLM's log says of its start-up, without its prefix; None for the rest."""
    if not _INTERESTING.search(line):
        return None
    return _PREFIX.sub("", line).strip()[:160] or None


class Server(Logged, Endpoint):
    """A ``vllm serve`` that this run started; made by :func:`start_server`.

    Attributes:
        process: the engine's process.
        launch: its command and environment.
        host, port: where it listens.
        log_path: its whole log.
        started_at: when it was started (seconds since the epoch).
        ready_seconds: how long it took to be ready.
    """

    def __init__(
        self,
        process: EngineProcess,
        reserved: ReservedPort,
        *,
        model: str,
        api_key: str | None,
    ) -> None:
        host = f"[{reserved.host}]" if ":" in reserved.host else reserved.host
        super().__init__(f"http://{host}:{reserved.port}", model, api_key)
        self.process = process
        self.launch = process.launch
        self.host = reserved.host
        self.port = reserved.port
        self.log_path = process.log_path
        self.started_at = time.time()
        self.ready_seconds = 0.0
        self._reserved = reserved

    @property
    def argv(self) -> tuple[str, ...]:
        """The command that was run."""
        return self.launch.argv

    def check_alive(self, patience: float = 0.0) -> None:
        """Raise EngineDiedError, with the log's tail, when the engine's process is gone.

        Args:
            patience: seconds in which an exit that is under way may still show.
        """
        status = self.process.wait_exit(patience) if patience else self.process.poll()
        if status is None and patience and container_is_gone(self.launch):
            status = self.process.wait_exit(_CLIENT_NOTICE)
            if status is None:
                self.process.stop(grace=1.0)
                raise EngineDiedError(
                    f"the engine of {self.model} is gone: its container ended, and "
                    f"{self.argv[0]} did not notice",
                    log_path=self.log_path,
                    log_tail=self.log_tail(),
                    argv=self.argv,
                )
        if status is not None:
            raise EngineDiedError(
                f"the engine of {self.model} is gone: it ended with {describe_end(self.process)}",
                log_path=self.log_path,
                log_tail=self.log_tail(),
                argv=self.argv,
            )

    def stop(self) -> None:
        """End the engine and everything it started; returns when nothing of it is left."""
        self._end(grace=15.0)

    def _end(self, grace: float) -> None:
        self._close_sessions()
        try:
            self.process.stop(grace)
        finally:
            self._reserved.release()


def start_server(
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
    host: str = "127.0.0.1",
    port: int = 0,
    contain: Callable[[Launch], Launch] | None = None,
) -> Server:
    """Start ``vllm serve`` for a deployment and return when it is ready.

    Ready means: ``/health`` says 200, ``/v1/models`` lists the name, one text and one image
    request were answered.

    Args:
        weights: a directory, or the hub's id.
        devices: leased devices, as indices into what the caller may see (``mask``).
        run_directory: folder for ``server.log`` and what the engine needs; made if absent.
        progress: called with what the log says of loading and warming up.
        port: 0 for one of the kernel's choice.
        contain: makes the command one that runs in a container.

    Raises:
        EngineStartError: it exited (whatever the code), hung for ``deployment.start_timeout``
            seconds, or refused the first requests; with the log's tail.
    """
    environment = prepare(run_directory, interpreter, backend, extra_environment)
    reserved = reserve_port(host, port)
    name = served_model_name(profile)
    try:
        launch = serve_launch(
            profile,
            deployment,
            backend=backend,
            python=interpreter.path,
            weights=weights,
            served_model_name=name,
            host=host,
            port=reserved.port,
            devices=devices,
            mask=mask,
            modelscope=modelscope,
            extra_environment=environment,
            versions=interpreter.engine_versions,
        )
        return launch_server(
            contain(launch) if contain else launch,
            reserved,
            model=name,
            run_directory=run_directory,
            start_timeout=deployment.start_timeout,
            progress=progress,
        )
    except BaseException:
        reserved.release()
        raise


def launch_server(
    launch: Launch,
    reserved: ReservedPort,
    *,
    model: str,
    run_directory: Path,
    start_timeout: float,
    progress: Callable[[str], None] = lambda line: None,
) -> Server:
    """Run a server's command and return when it is ready; see :func:`start_server`.

    A key that the caller's environment gives to every vLLM server (``VLLM_API_KEY``) is the one
    that requests are sent with.
    """
    work = run_directory / WORK
    work.mkdir(parents=True, exist_ok=True)
    log_path = run_directory / "server.log"
    begun = time.monotonic()
    process = EngineProcess.start(launch, log_path=log_path, working_directory=work)
    key = launch.environment.get("VLLM_API_KEY", os.environ.get("VLLM_API_KEY")) or None
    server = Server(process, reserved, model=model, api_key=key)

    def show(line: str) -> None:
        text = interesting_line(line)
        if text:
            progress(text)

    follower = LogFollower(log_path, show)
    try:
        _await_ready(server, begun + start_timeout, start_timeout, follower)
    except BaseException as error:
        server._end(grace=5.0)
        if isinstance(error, EngineDiedError):
            follower.look(last=True)
            raise _start_error(server, _exit_before_ready(server)) from error
        raise
    server.ready_seconds = time.monotonic() - begun
    return server


def _await_ready(
    server: Server, deadline: float, start_timeout: float, follower: LogFollower
) -> None:
    import requests

    seen = "no answer from /health yet"
    while True:
        if server.process.wait_exit(_HEALTH_INTERVAL) is not None:
            server.check_alive()
        follower.look()
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise _start_error(
                server, f"hung: not ready within {start_timeout:.0f} s ({seen}) and was ended"
            )
        with contextlib.suppress(requests.RequestException):
            timeout = min(remaining, _HEALTH_TIMEOUT)
            status = server.request("GET", "/health", timeout=timeout).status_code
            if status == 200:
                break
            seen = f"/health answered {status}"
    try:
        names = listed_models(server, max(1.0, deadline - time.monotonic()))
        if server.model not in names:
            raise _start_error(
                server, f"/v1/models lists {', '.join(names) or 'nothing'}, not {server.model}"
            )
        check_answers(server, max(1.0, deadline - time.monotonic()))
    except requests.RequestException as error:
        raise _start_error(
            server, f"hung: /health said 200, but the first request failed: {error}"
        ) from error
    except EngineDiedError:
        raise
    except EngineError as error:
        raise _start_error(server, error.message) from error
    follower.look()


def _exit_before_ready(server: Server) -> str:
    message = f"ended with {describe_end(server.process)} before it was ready"
    if "Address already in use" in server.log_tail():
        message += f"; port {server.port} of {server.host} was taken by another process"
    return message


def _start_error(server: Server, what: str) -> EngineStartError:
    return EngineStartError(
        f"the engine of {server.model} did not start: {what}",
        log_path=server.log_path,
        log_tail=server.log_tail(),
        argv=server.argv,
    )
