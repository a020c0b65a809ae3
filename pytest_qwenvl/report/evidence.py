"""Make whatever a test hands over fit for a report: JSON values only, and no secrets (pure)."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Set
from enum import Enum
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from pytest_qwenvl.report.results import EngineRecord, Result

REDACTED = "[redacted]"
LARGEST_INLINE_BYTES = 64 * 1024
DEEPEST = 40

_SHORTEST_SECRET = 4
_PLACEHOLDER_KEYS = frozenset({"EMPTY", "none", "None", "dummy"})
SECRET_FIELDS = frozenset(
    {"authorization", "proxy-authorization", "api-key", "api_key", "x-api-key", "cookie",
     "set-cookie"}
)  # fmt: skip
_SECRET_VARIABLE = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS)$", re.I)
_IN_TEXT = (
    # A variable, ${NAME}, stands for the key where a command is to be pasted.
    re.compile(
        r"(?i)(\b(?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?)(?!(?:\w+\s+)?\$\{\w+\})"
        r"(?:\w+\s+)?[^\s'\",}]+"
    ),
    re.compile(r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{4,}"),
    re.compile(r"(?i)(--api[-_]key(?:=|\s+))\S+"),
    re.compile(r"(://)[^/\s:@]+:[^/\s@]+(?=@)"),
)


def json_value(value: object, depth: int = 0) -> Any:
    """``value`` as JSON can hold it; what JSON lacks is written so that a reader can tell.

    A float that is not finite becomes its name (``"NaN"``, ``"Infinity"``, ``"-Infinity"``,
    which ``float()`` reads back); bytes become an object with their length, sha256 and, up to
    64 KiB, base64; text that is no valid Unicode keeps its odd parts as ``\\udcXX``; any other
    object becomes ``{"unrepresentable": repr}``.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return json_value(value.value, depth)
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value))
    if isinstance(value, PurePath):
        return clean_text(str(value))
    if depth >= DEEPEST:
        return {"unrepresentable": f"nested deeper than {DEEPEST}: {type(value).__name__}"}
    if isinstance(value, BaseModel):
        value = dict(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): json_value(its, depth + 1) for key, its in value.items()}
    if isinstance(value, Set):
        return [json_value(its, depth + 1) for its in sorted(value, key=repr)]
    if isinstance(value, (list, tuple)):
        return [json_value(its, depth + 1) for its in value]
    return {"unrepresentable": clean_text(repr(value))}


def clean_text(text: str) -> str:
    """``text`` with lone surrogates written out, since UTF-8 cannot hold them."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def _key(key: object) -> str:
    if isinstance(key, Enum):
        key = key.value
    return clean_text(key if isinstance(key, str) else str(key))


def _float(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _bytes(value: bytes) -> dict[str, Any]:
    shown: dict[str, Any] = {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    if len(value) <= LARGEST_INLINE_BYTES:
        shown["base64"] = base64.b64encode(value).decode("ascii")
    return shown


class Redactor:
    """Takes secrets out of everything that goes into a report.

    Known secret values are replaced wherever they stand, inside longer text too; beyond them,
    whatever follows ``Authorization``, ``Bearer`` or ``--api-key``, user and password in a URL,
    and the value of any header field that carries a credential.

    Args:
        secrets: the values to hide. Those shorter than 4 characters and placeholders that stand
            for "no key" (``EMPTY``) are left alone: replacing them would garble the report and
            protect nothing.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        kept = {s for s in secrets if len(s) >= _SHORTEST_SECRET and s not in _PLACEHOLDER_KEYS}
        # Longest first, or a secret that begins with another would keep its ending.
        self._secrets = sorted(kept, key=len, reverse=True)

    def text(self, text: str) -> str:
        """``text`` without secrets, fit for UTF-8."""
        text = clean_text(text)
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        for pattern in _IN_TEXT:
            text = pattern.sub(rf"\g<1>{REDACTED}", text)
        return text

    def known_in(self, data: bytes) -> bytes:
        """``data`` without the known secrets, and otherwise byte for byte."""
        for secret in self._secrets:
            data = data.replace(secret.encode(), REDACTED.encode())
        return data

    def value(self, value: object) -> Any:
        """``json_value(value)`` without secrets, at any depth."""
        return self._walk(json_value(value))

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Environment variables; one named like a credential (``HF_TOKEN``) loses its value."""
        return {
            name: REDACTED if _SECRET_VARIABLE.search(name) else self.text(value)
            for name, value in environment.items()
        }

    def argv(self, argv: Iterable[str]) -> tuple[str, ...]:
        """A command line; the word after ``--api-key`` is hidden."""
        words: list[str] = []
        hide = False
        for word in argv:
            if hide and not word.startswith("--"):
                words.append(REDACTED)
            else:
                hide = word in ("--api-key", "--api_key")
                words.append(self.text(word))
        return tuple(words)

    def result(self, result: Result) -> Result:
        """``result`` as the report may show it; also what a worker may send to its controller."""
        return result.model_copy(
            update={
                "reason": self.text(result.reason),
                "evidence": self.value(result.evidence),
                "exchanges": [
                    it.model_copy(
                        update={"curl": self.text(it.curl), "response": self.text(it.response)}
                    )
                    for it in result.exchanges
                ],
                "log": self.text(result.log),
                "reproduce": self.text(result.reproduce),
            }
        )

    def engine(self, engine: EngineRecord) -> EngineRecord:
        """``engine`` as the report may show it."""
        return engine.model_copy(
            update={
                "argv": self.argv(engine.argv),
                "environment": self.environment(engine.environment),
                "log": self.text(engine.log),
            }
        )

    def _walk(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._walk(its) for its in value]
        if isinstance(value, dict):
            return {
                self.text(key): REDACTED if key.lower() in SECRET_FIELDS else self._walk(its)
                for key, its in value.items()
            }
        return value
