"""What a server can do beyond the least: one cheap request each, sent when a test wants to know.

Only a clear refusal counts as lacking a capability. Whatever else goes wrong with the request is
left to the requirement's own test, so that a broken feature is not excused as a missing one.
"""

from __future__ import annotations

import base64
import functools
import io
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from pytest_qwenvl.engines.endpoint import Endpoint, tiny_picture
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.profile_fields import Capability

_CHAT = "/v1/chat/completions"
# An endpoint that is not there.
_ABSENT = frozenset({404, 405, 501})
# A refusal of the client or of this moment, not of what was asked for.
_NOT_ABOUT_THE_REQUEST = frozenset({401, 403, 408, 429})
_LONGEST_ANSWER = 300  # characters shown of a refusal


class UnsupportedError(pytest.skip.Exception):  # type: ignore[name-defined,misc]
    """The server lacks what an extended requirement is about: the test ends as UNSUPPORTED."""


class Probe(NamedTuple):
    """The request that tells whether a server has a capability.

    Attributes:
        body: makes the body from the model's name; None for a GET.
        field: whether a field of a request is in question, so that any refusal (4xx) means no;
            else an endpoint is, and only its absence (404, 405, 501) does.
    """

    path: str
    body: Callable[[str], dict[str, Any]] | None = None
    field: bool = False


class Capabilities:
    """What one server can do, each looked at once; see the fixture ``capabilities``.

    Thread-safe.

    Args:
        declared: what the profile's deployment says (``capabilities``); it is not probed.
        core: whether the test that asks decides a core requirement, which nothing excuses:
            there a missing capability is a failure.
        missing, lock: what is known already, shared by the views of several tests.
    """

    def __init__(
        self,
        server: Endpoint,
        declared: Mapping[Capability, bool],
        *,
        core: bool = False,
        missing: dict[str, str] | None = None,
        lock: threading.Lock | None = None,
    ) -> None:
        self._server = server
        self._declared = declared
        self._core = core
        self._missing = {} if missing is None else missing
        self._lock = lock or threading.Lock()

    def has(self, name: Capability) -> bool:
        """Whether the server can do ``name``; see :func:`missing` for why not."""
        return not self.missing(name)

    def missing(self, name: Capability) -> str:
        """Why the server cannot do ``name``; empty when it can.

        Raises:
            UsageProblem: no such capability.
            EngineDiedError: the engine is gone.
        """
        if name not in PROBES:
            raise UsageProblem(f"capability {name!r}: known are {', '.join(PROBES)}")
        with self._lock:
            if name not in self._missing:
                if name in self._declared:
                    declared = "" if self._declared[name] else "the profile says that it has none"
                    self._missing[name] = declared
                else:
                    self._missing[name] = refusal(self._server, PROBES[name])
            return self._missing[name]

    def require(self, *names: Capability) -> None:
        """End the test as UNSUPPORTED when the server lacks one of ``names``.

        For tests of extended requirements. The test of a core requirement fails instead: nothing
        excuses a server from those.
        """
        for name in names:
            if reason := self.missing(name):
                sentence = f"the server has no {name}: {reason}"
                if self._core:
                    raise AssertionError(f"expected {name}, a core capability; {sentence}")
                raise UnsupportedError(sentence)

    def asked_by(self, *, core: bool) -> Capabilities:
        """The same knowledge, for a test of a core or an extended requirement."""
        return Capabilities(
            self._server, self._declared, core=core, missing=self._missing, lock=self._lock
        )


def refusal(server: Endpoint, probe: Probe) -> str:
    """What a server's refusal of a probe says; empty unless it clearly refuses."""
    import requests

    method = "GET" if probe.body is None else "POST"
    body = None if probe.body is None else probe.body(server.model)
    try:
        response = server.request(method, probe.path, json=body)
    except requests.RequestException:
        return ""
    status = response.status_code
    refuses = status in _ABSENT or (
        probe.field and 400 <= status < 500 and status not in _NOT_ABOUT_THE_REQUEST
    )
    if not refuses:
        return ""
    said = " ".join(response.text.split())[:_LONGEST_ANSWER]
    return f"{method} {probe.path} answered HTTP {status}" + (f": {said}" if said else "")


def _chat(model: str, *parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    content = [*parts, {"type": "text", "text": "Say hello."}]
    return {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 1,
        "temperature": 0,
        **fields,
    }


def _with(**fields: Any) -> Callable[[str], dict[str, Any]]:
    return lambda model: _chat(model, **fields)


def _video(model: str) -> dict[str, Any]:
    return _chat(model, {"type": "video_url", "video_url": {"url": tiny_clip()}})


def _resized(model: str) -> dict[str, Any]:
    picture = {"type": "image_url", "image_url": {"url": tiny_picture()}}
    return _chat(model, picture, mm_processor_kwargs={"min_pixels": 64 * 64})


@functools.cache
def tiny_clip() -> str:
    """Four plain 64x64 frames as the ``data:`` URL of JPEGs that vLLM takes for a video."""
    from PIL import Image

    frames = []
    for grey in (0, 80, 160, 240):
        file = io.BytesIO()
        Image.new("RGB", (64, 64), (grey, grey, grey)).save(file, "JPEG")
        frames.append(base64.b64encode(file.getvalue()).decode())
    return "data:video/jpeg;base64," + ",".join(frames)


_TOOL = {
    "type": "function",
    "function": {
        "name": "note",
        "description": "Keep a note.",
        "parameters": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        },
    },
}
_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "colour",
        "schema": {"type": "object", "properties": {"colour": {"type": "string"}}},
    },
}

PROBES: Mapping[str, Probe] = {
    "auto_tools": Probe(_CHAT, _with(tools=[_TOOL], tool_choice="auto"), field=True),
    "completions": Probe(
        "/v1/completions", lambda model: {"model": model, "prompt": "Hello", "max_tokens": 1}
    ),
    "detokenize": Probe("/detokenize", lambda model: {"model": model, "tokens": [1]}),
    "ignore_eos": Probe(_CHAT, _with(ignore_eos=True), field=True),
    "include_stop_str_in_output": Probe(
        _CHAT, _with(stop=["~"], include_stop_str_in_output=True), field=True
    ),
    "json_schema": Probe(_CHAT, _with(response_format=_SCHEMA), field=True),
    "load": Probe("/load"),
    "logprobs": Probe(_CHAT, _with(logprobs=True, top_logprobs=1), field=True),
    "metrics": Probe("/metrics"),
    "min_p": Probe(_CHAT, _with(min_p=0.5), field=True),
    "min_tokens": Probe(_CHAT, _with(min_tokens=1), field=True),
    "mm_processor_kwargs": Probe(_CHAT, _resized, field=True),
    "openapi": Probe("/openapi.json"),
    "ping": Probe("/ping"),
    "responses": Probe(
        "/v1/responses", lambda model: {"model": model, "input": "Hi", "max_output_tokens": 16}
    ),
    "sleep": Probe("/is_sleeping"),
    "structured_outputs": Probe(
        _CHAT, _with(structured_outputs={"choice": ["a", "b"]}), field=True
    ),
    "tokenize": Probe("/tokenize", lambda model: {"model": model, "prompt": "Hello"}),
    "tools": Probe(
        _CHAT,
        _with(tools=[_TOOL], tool_choice={"type": "function", "function": {"name": "note"}}),
        field=True,
    ),
    "top_k": Probe(_CHAT, _with(top_k=1), field=True),
    "version": Probe("/version"),
    "video": Probe(_CHAT, _video, field=True),
}
"""Every capability with the request that tells; ``tools`` is a named or required tool,
``auto_tools`` the model's own choice (vLLM: ``--enable-auto-tool-choice``)."""
