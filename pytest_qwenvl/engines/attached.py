"""Somebody else's server: the same face as a local one, without process and log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_qwenvl.engines.endpoint import Endpoint, listed_models, say_hello
from pytest_qwenvl.errors import EngineError, UsageProblem

if TYPE_CHECKING:
    import requests

_ABSENT = (404, 405, 501)
_LONGEST_ANSWER = 300  # characters shown of an answer


class AttachedServer(Endpoint):
    """A server named by ``--endpoint``; never started, never stopped."""

    process = None
    log_path = None
    launch = None
    argv: tuple[str, ...] = ()
    ready_seconds = 0.0

    def check_alive(self, patience: float = 0.0) -> None:
        """Nothing is known of its process, so only a request that fails can tell."""
        del patience


def attach_server(
    base_url: str,
    *,
    expected: str,
    model: str | None = None,
    api_key: str | None = None,
    api_key_env: str | None = None,
    timeout: float = 30.0,
) -> AttachedServer:
    """Attach to a running server of any engine, and see that it serves.

    ``/health`` and ``/v1/models`` tell, as far as the server has them. Where they are missing, or
    say something else, a first chat request decides: what they get wrong is for requirements to
    find, as long as the server serves.

    Args:
        expected: the name to look for in the list of models: the profile's.
        model: the name to ask for, whatever is listed; None takes the expected one where it is
            listed, else the only one.
        api_key_env: the variable that ``api_key`` comes from, for messages.
        timeout: seconds for each of the at most three requests.

    Raises:
        UsageProblem: it cannot be reached, refuses the key, is not ready, or serves several
            models none of which is the expected one.
    """
    import requests

    server = AttachedServer(base_url, model or "", api_key, api_key_env=api_key_env)
    try:
        _attach(server, expected, timeout)
    except requests.exceptions.SSLError as error:
        raise UsageProblem(
            f"--endpoint {base_url}: its certificate is not trusted here: {error}; name the "
            "file of its authority in REQUESTS_CA_BUNDLE"
        ) from error
    except requests.ConnectionError as error:
        raise UsageProblem(
            f"--endpoint {base_url} cannot be reached: {error}; is the server running, and can "
            "this host reach it?"
        ) from error
    except requests.Timeout as error:
        raise UsageProblem(
            f"--endpoint {base_url} did not answer within {timeout:.0f} s: {error}"
        ) from error
    except requests.RequestException as error:
        raise UsageProblem(f"--endpoint {base_url}: no answer that is HTTP: {error}") from error
    return server


def served_version(server: AttachedServer, timeout: float = 30.0) -> str:
    """What ``/version`` says; empty where there is no such endpoint, or it says something else."""
    import requests

    try:
        version = server.request("GET", "/version", timeout=timeout).json()["version"]
    except (requests.RequestException, ValueError, LookupError, TypeError):
        return ""
    return version if isinstance(version, str) else ""


def _attach(server: AttachedServer, expected: str, timeout: float) -> None:
    health = server.request("GET", "/health", timeout=timeout)
    _check_admitted(server, health)
    if health.history:
        raise UsageProblem(
            f"--endpoint {server.base_url} redirects to {health.url.removesuffix('/health')}; "
            "give that URL"
        )
    try:
        names, trouble = listed_models(server, timeout), ""
    except EngineError as error:
        names, trouble = [], error.message
    if not server.model:
        server.model = _choose(server, expected, names)
    healthy = health.status_code == 200 or (health.status_code in _ABSENT and bool(names))
    if healthy and server.model in names:
        return
    response = say_hello(server, timeout)
    _check_admitted(server, response)
    if response.status_code != 200:
        listed = f"/v1/models lists {', '.join(names)}" if names else trouble
        raise UsageProblem(
            f"--endpoint {server.base_url} does not serve {server.model!r}: /health answered "
            f"HTTP {health.status_code}; {listed or '/v1/models lists nothing'}; a chat request "
            f"was answered with HTTP {response.status_code}: {_shown(response)}\nwait until it "
            "is ready, or name the model it serves with --served-model-name"
        )


def _choose(server: AttachedServer, expected: str, names: list[str]) -> str:
    if expected in names or not names:
        return expected
    if len(names) == 1:
        return names[0]
    raise UsageProblem(
        f"--endpoint {server.base_url} serves {', '.join(names)}; say which of them with "
        "--served-model-name"
    )


def _check_admitted(server: AttachedServer, response: requests.Response) -> None:
    if response.status_code not in (401, 403):
        return
    said = f"--endpoint {server.base_url} answered HTTP {response.status_code}"
    if server.api_key:
        raise UsageProblem(
            f"{said}: it refuses the key in ${server.api_key_env or 'the environment'}"
        )
    raise UsageProblem(
        f"{said}: it wants a key; put it in a variable and name that with --api-key-env"
    )


def _shown(response: requests.Response) -> str:
    return " ".join(response.text.split())[:_LONGEST_ANSWER] or "an empty body"
