"""HTTP requests and responses as defects see them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

Headers = dict[str, str]


@dataclass
class Request:
    """A request of a client.

    Attributes:
        headers: by lower-case name.
        body: changed by assigning to it, or through :attr:`document`.
    """

    method: str
    path: str
    headers: Headers
    body: bytes
    _document: Any = None
    _read: bool = False

    @property
    def document(self) -> dict[str, Any]:
        """The body's JSON object; what is changed in it is sent. Empty where the body is none."""
        if not self._read:
            self._read = True
            try:
                self._document = json.loads(self.body)
            except (ValueError, RecursionError):
                self._document = None
        return self._document if isinstance(self._document, dict) else {}

    @property
    def is_chat(self) -> bool:
        """Whether it asks for a chat completion, in JSON."""
        return self.path == "/v1/chat/completions" and bool(self.document)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The content parts of all its messages, in their order."""
        return [part for message in self.messages for part in parts_of(message)]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Its messages, as far as they are objects."""
        messages = self.document.get("messages")
        return [it for it in messages if isinstance(it, dict)] if isinstance(messages, list) else []

    @property
    def pictures(self) -> list[dict[str, Any]]:
        """Its parts that are pictures with a URL."""
        return [part for part in self.parts if is_picture(part)]

    def finish(self) -> None:
        """Write what was changed in the document into the body."""
        if self.document and self._document != _load(self.body):
            self.body = json.dumps(self._document).encode()


@dataclass
class Response:
    """A response, on its way to the client.

    Attributes:
        headers: by lower-case name; the length is written when it is sent.
    """

    status: int
    headers: Headers = field(default_factory=dict)
    body: bytes = b""

    @property
    def document(self) -> Any:
        """The body's JSON; None where it is none."""
        return _load(self.body)

    @document.setter
    def document(self, value: Any) -> None:
        self.body = json.dumps(value, ensure_ascii=False).encode()
        self.headers["content-type"] = "application/json"


def error(status: int, message: str = "planted") -> Response:
    """A refusal with vLLM's error object."""
    response = Response(status)
    response.document = {
        "error": {"message": message, "type": "BadRequestError", "param": None, "code": status}
    }
    return response


def parts_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The content parts of a message; none where its content is a text."""
    content = message.get("content")
    return [it for it in content if isinstance(it, dict)] if isinstance(content, list) else []


def is_picture(part: dict[str, Any]) -> bool:
    """Whether a content part is a picture with a URL."""
    url = part.get("image_url")
    return (
        part.get("type") == "image_url"
        and isinstance(url, dict)
        and isinstance(url.get("url"), str)
    )


def _load(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
