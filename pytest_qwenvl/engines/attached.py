"""Somebody else's server: the same face as a local one, without process and log."""

from __future__ import annotations

from pytest_qwenvl.engines.endpoint import Endpoint, check_answers, listed_models
from pytest_qwenvl.errors import EngineStartError


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
    model: str | None = None,
    api_key: str | None = None,
    timeout: float = 60.0,
) -> AttachedServer:
    """Attach to a running server and see that it answers.

    Args:
        model: the name it must list; None takes the only one it lists.
        timeout: seconds for each of the four requests.

    Raises:
        EngineStartError: it cannot be reached, refuses the key, lists another model, or does not
            answer a text and an image request.
    """
    import requests

    server = AttachedServer(base_url, model or "", api_key)
    try:
        health = server.request("GET", "/health", timeout=timeout)
        if health.status_code != 200:
            raise EngineStartError(
                f"{base_url}/health answered HTTP {health.status_code}, so the server is not ready"
            )
        names = listed_models(server, timeout)
        if model is None and len(names) == 1:
            server.model = names[0]
        elif server.model not in names:
            raise EngineStartError(
                f"{base_url} serves {', '.join(names) or 'no model'}, not "
                f"{model or 'one model alone'}; choose a profile with --model, or start the "
                "server with --served-model-name"
            )
        check_answers(server, timeout)
    except requests.ConnectionError as error:
        server.stop()
        raise EngineStartError(f"{base_url} cannot be reached: {error}") from error
    except requests.RequestException as error:
        server.stop()
        raise EngineStartError(
            f"{base_url} did not answer within {timeout:.0f} s: {error}"
        ) from error
    return server
