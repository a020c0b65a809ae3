"""The client's side of a server: requests with a timeout, a client, the model's name."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.engines.exchanges import Journal, client_hooks
from pytest_qwenvl.errors import EngineError, EngineStartError

if TYPE_CHECKING:
    import openai
    import requests

# vLLM's server ends a connection that nobody used for 5 s (VLLM_HTTP_TIMEOUT_KEEP_ALIVE), and on a
# busy host a request meets that end; one that was used within this time is used again (seconds).
_KEPT = 1.0
_DEATH_NOTICE = 1.0  # seconds in which a broken connection may turn out to be a dead engine


class Endpoint:
    """A base URL that speaks vLLM's HTTP interface.

    Attributes:
        base_url: without ``/v1`` and without a final slash.
        model: the name to ask for.
        api_key: sent as a bearer token; None when the server wants none.
        api_key_env: the variable that a person finds the key in, for commands in reports.
        journal: the latest requests and answers of all endpoints of this process.
    """

    journal = Journal()

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        api_key_env: str | None = None,
    ) -> None:
        self.base_url = base_url
        self.model = model
        self.api_key = api_key
        self.api_key_env = api_key_env
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | str | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 60.0,
        stream: bool = False,
    ) -> requests.Response:
        """Send one request and return the answer, whatever its status.

        Args:
            path: below ``base_url``, with its slash: ``/v1/chat/completions``.
            json: body, serialised here; ``data`` is a body sent as it is.
            headers: override the defaults; the key is added unless ``Authorization`` is given.
            timeout: seconds to connect, and between bytes of the answer.
            stream: leave the body unread, for ``iter_lines``.

        Raises:
            EngineDiedError: the engine is gone, with its log's tail.
            requests.RequestException: the connection failed although the engine lives.
        """
        import requests

        self.check_alive()
        sent = dict(headers or {})
        if self.api_key and not any(name.lower() == "authorization" for name in sent):
            sent["Authorization"] = f"Bearer {self.api_key}"
        session = self._session()
        prepared = session.prepare_request(
            requests.Request(method, self.base_url + path, headers=sent, data=data, json=json)
        )
        exchange = self.journal.open(
            self, method, self.base_url + path, dict(prepared.headers), prepared.body
        )
        try:
            response = session.send(prepared, timeout=timeout, stream=stream)
        except requests.RequestException as error:
            exchange.failed(error)
            if isinstance(error, requests.ConnectionError):
                self.check_alive(patience=_DEATH_NOTICE)
            raise
        exchange.answered(response, stream=stream)
        if not stream and (response.status_code >= 400 or sent.get("Connection") == "close"):
            # Not every server says that it ends the connection, as vLLM 0.23.0 does after refusals
            # that it takes for failures of its own; the next request must not meet that.
            session.close()
        self._local.used = time.monotonic()
        return response

    def openai_client(self, timeout: float = 60.0) -> openai.OpenAI:
        """A client of the official library, without retries, that ignores proxies."""
        import ssl

        import openai

        authority = _authority()
        return openai.OpenAI(
            base_url=f"{self.base_url}/v1",
            api_key=self.api_key or "EMPTY",
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultHttpxClient(
                trust_env=False,
                timeout=timeout,
                verify=ssl.create_default_context(cafile=authority) if authority else True,
                event_hooks=client_hooks(self.journal, self),
            ),
        )

    def check_alive(self, patience: float = 0.0) -> None:
        """Raise EngineDiedError when the engine is gone; ``patience`` seconds may show it."""

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the engine's log; empty where there is none."""
        return ""

    def log_offset(self) -> int:
        """Size of the log now, in bytes."""
        return 0

    def log_since(self, offset: int) -> str:
        """The log from ``offset`` (bytes) on; empty where there is none."""
        return ""

    def stop(self) -> None:
        """Close the connections, and end the engine where it is ours to end."""
        self._close_sessions()

    def _close_sessions(self) -> None:
        while self._sessions:
            self._sessions.pop().close()

    def _session(self) -> requests.Session:
        import requests

        # One a thread: a session is not made for several.
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            # A proxy named by the environment would be asked for 127.0.0.1 too.
            session.trust_env = False
            session.verify = _authority() or True
            self._local.session = session
            self._sessions.append(session)
        elif time.monotonic() - getattr(self._local, "used", 0.0) > _KEPT:
            session.close()
        return session


def check_answers(endpoint: Endpoint, timeout: float) -> None:
    """One text and one image request, each answered with 200 and a choice.

    Raises:
        EngineError: an answer that is none, with status and body.
        requests.RequestException: no answer within ``timeout`` seconds.
    """
    picture = {"type": "image_url", "image_url": {"url": tiny_picture()}}
    for kind, parts in (("text", []), ("image", [picture])):
        response = say_hello(endpoint, timeout, *parts)
        if response.status_code != 200 or not response.json().get("choices"):
            raise EngineError(
                f"the first {kind} request was answered with HTTP {response.status_code}: "
                f"{response.text[:500]}"
            )


def say_hello(endpoint: Endpoint, timeout: float, *parts: dict[str, Any]) -> requests.Response:
    """The shortest chat request, with ``parts`` before its text; whatever comes back."""
    return endpoint.request(
        "POST",
        "/v1/chat/completions",
        json={
            "model": endpoint.model,
            "messages": [
                {"role": "user", "content": [*parts, {"type": "text", "text": "Say hello."}]}
            ],
            "max_tokens": 1,
            "temperature": 0,
        },
        timeout=timeout,
    )


def _authority() -> str | None:
    """The file of certificate authorities that the environment names, if any."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None


def tiny_picture() -> str:
    """A plain 64x64 PNG as a ``data:`` URL."""
    import base64
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def listed_models(endpoint: Endpoint, timeout: float) -> list[str]:
    """Names that ``/v1/models`` lists.

    Raises:
        EngineStartError: an answer without a list of models.
        requests.RequestException: no answer.
    """
    response = endpoint.request("GET", "/v1/models", timeout=timeout)
    try:
        return [str(entry["id"]) for entry in response.json()["data"]]
    except (ValueError, KeyError, TypeError):
        raise EngineStartError(
            f"{endpoint.base_url}/v1/models answered HTTP {response.status_code} without a list "
            f"of models: {response.text[:300]}"
        ) from None
