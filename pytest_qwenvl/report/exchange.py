"""A failed test's requests as an engineer can send them again: curl lines, bodies, pictures.

What is saved lies in ``evidence/REQUIREMENT/MODEL/DEPLOYMENT/`` of the report: each request's body
byte for byte, its pictures beside it, the answer, and ``curl.sh``, which sends it again.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_qwenvl.engines.exchanges import Exchange
from pytest_qwenvl.report.evidence import REDACTED, SECRET_FIELDS, Redactor
from pytest_qwenvl.report.results import ExchangeRecord

MOST_SAVED = 6
"""Exchanges of a failed test that are kept, the one in question first."""

_KEY_VARIABLE = "VLLM_API_KEY"
_LONGEST_SHOWN = 4000  # characters of an answer in report.json; all that was read is in its file
_LONGEST_INLINE = 300  # bytes of a body that stands in the command itself
# An answer's text together with its question, or a body's beginning: nothing that is merely alike.
_SURELY_QUOTED = 2
_FEWEST_TELLING = 3  # characters: a shorter answer is found in any text
# curl has its own, or works them out; what openai's client says of itself changes nothing.
_LEFT_TO_CURL = frozenset(
    {"user-agent", "accept", "accept-encoding", "connection", "content-length", "host"}
)
_DATA_URL = re.compile(r"data:(\w+)/([\w.+-]+)[^,]*;base64,")
_ENDINGS = {"jpeg": "jpg", "svg+xml": "svg", "plain": "txt", "x-ms-bmp": "bmp"}
_ANSWER_ENDINGS = {"application/json": "json", "text/event-stream": "sse", "text/html": "html"}


def in_question(
    exchanges: Sequence[Exchange], earlier: Sequence[Exchange], reason: str
) -> list[Exchange]:
    """The exchanges that a failure is about, the likeliest first.

    A test that sends many requests at once says in its reason which answer it did not like: the
    one whose failure, body, text or question the reason quotes. Where it quotes none, the last.

    Args:
        exchanges: those of the test, oldest first.
        earlier: those of tests before it, which count only when they are quoted: a test may
            judge what another one asked for.
    """
    told = " ".join(reason.split())
    ranked = [(_quoted(it, told), it.number, it) for it in exchanges]
    if not any(score for score, _, _ in ranked):
        quoted = [(_quoted(it, told), it.number, it) for it in earlier]
        ranked += [row for row in quoted if row[0] >= _SURELY_QUOTED]
    ranked.sort(key=lambda row: row[:2], reverse=True)
    return [exchange for _, _, exchange in ranked[:MOST_SAVED]]


def _quoted(exchange: Exchange, reason: str) -> int:
    if exchange.error:
        return 1 + 4 * _is_in(exchange.error.partition(": ")[2][:80], reason)
    text = exchange.answer.decode("utf-8", "replace")
    score = 4 * _is_in(text[:80], reason)
    score += _is_in(_answer_text(text), reason)
    score += _is_in(_question(exchange.body), reason)
    return score


def _is_in(part: str, reason: str) -> bool:
    part = " ".join(part.split())
    return len(part) >= _FEWEST_TELLING and part in reason


def _answer_text(text: str) -> str:
    try:
        return str(json.loads(text)["choices"][0]["message"]["content"])
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""


def _question(body: bytes | None) -> str:
    try:
        content = json.loads(body or b"")["messages"][-1]["content"]
        if isinstance(content, str):
            return content
        return next(str(it["text"]) for it in reversed(content) if it.get("type") == "text")
    except (
        ValueError,
        RecursionError,
        LookupError,
        TypeError,
        AttributeError,
        StopIteration,
    ):
        return ""


def save_exchanges(
    exchanges: Iterable[Exchange], directory: Path, root: Path, secrets: Iterable[str] = ()
) -> list[ExchangeRecord]:
    """Save exchanges for sending them again, and say how.

    Args:
        directory: made if absent; a requirement's own, for one deployment.
        root: the report's directory, to which the names of files are relative.
        secrets: values that must not be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    records: list[ExchangeRecord] = []
    script = [
        "#!/bin/sh",
        "# Sends the requests of a failed requirement again.",
        'cd "$(dirname "$0")"',
    ]
    for number, exchange in enumerate(exchanges, start=1):
        key = exchange.endpoint.api_key
        redactor = Redactor([*secrets, *([key] if key else [])])
        files = _save_request(exchange, directory, number, redactor)
        body = files[0] if files else None
        script.append(curl_line(exchange, Path(body.name) if body else None))
        answer = redactor.text(exchange.answer.decode("utf-8", "replace"))
        if answer:
            kind = exchange.content_type.partition(";")[0].strip()
            path = directory / f"response-{number}.{_ANSWER_ENDINGS.get(kind, 'txt')}"
            path.write_text(answer, encoding="utf-8")
            files.append(path)
        records.append(
            ExchangeRecord(
                curl=redactor.text(curl_line(exchange, body)),
                status=exchange.status,
                response=_told(exchange, redactor.text(exchange.error), answer),
                started=exchange.started,
                seconds=exchange.seconds,
                files=tuple(path.relative_to(root).as_posix() for path in files),
            )
        )
    path = directory / "curl.sh"
    path.write_text(Redactor(secrets).text("\n".join(script)) + "\n", encoding="utf-8")
    path.chmod(0o755)
    return records


def curl_line(exchange: Exchange, body: Path | None) -> str:
    """The command that sends a request again, ready to paste into a shell.

    The endpoint's key stands in it as the variable that a person finds it in. A short body stands
    in it too, a longer one in the file ``body``.
    """
    words = ["curl", "-sS"]
    if exchange.content_type.startswith("text/event-stream"):
        words.append("-N")
    if any(name.lower().endswith("_proxy") for name in os.environ):
        # As here: a proxy of the environment has no part in it.
        words.append("--noproxy '*'")
    if exchange.method == "HEAD":
        words.append("--head")
    elif exchange.method != ("POST" if exchange.body else "GET"):
        words.append(f"-X {shlex.quote(exchange.method)}")
    words.append(shlex.quote(exchange.url))
    given = {name.lower() for name in exchange.headers}
    if exchange.body and "content-type" not in given:
        words.append("-H 'Content-Type:'")
    for name, value in exchange.headers.items():
        if name.lower() not in _LEFT_TO_CURL and not name.lower().startswith("x-stainless-"):
            words.append(f"-H {_header(exchange, name, value)}")
    inline = _inline(exchange)
    if inline is not None:
        words.append(f"--data-raw {shlex.quote(inline)}")
    elif exchange.body and body is not None:
        words.append("--data-binary " + shlex.quote(f"@{body}"))
    elif exchange.body is None:
        words.append(f"# and a body of {exchange.body_bytes or 'unknown'} bytes, not kept")
    return " ".join(words)


def _header(exchange: Exchange, name: str, value: str) -> str:
    key = exchange.endpoint.api_key
    if key and key in value:
        variable = exchange.endpoint.api_key_env or _KEY_VARIABLE
        parts = [re.sub(r'([\\"$`])', r"\\\1", part) for part in f"{name}: {value}".split(key)]
        return '"' + f"${{{variable}}}".join(parts) + '"'
    if name.lower() in SECRET_FIELDS:
        value = REDACTED
    return shlex.quote(f"{name}: {value}")


def _inline(exchange: Exchange) -> str | None:
    if not exchange.body or len(exchange.body) > _LONGEST_INLINE:
        return None
    key = exchange.endpoint.api_key
    try:
        text = exchange.body.decode("ascii")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and not (key and key in text) else None


def _save_request(
    exchange: Exchange, directory: Path, number: int, redactor: Redactor
) -> list[Path]:
    """The body's file first, unless the command holds it; then what a person can look at."""
    if not exchange.body or _inline(exchange) is not None:
        return []
    try:
        content = json.loads(exchange.body)
    except (ValueError, RecursionError):
        content = None
    path = directory / f"request-{number}.{'bin' if content is None else 'json'}"
    path.write_bytes(redactor.known_in(exchange.body))
    files = [path]
    shown = _without_data_urls(content, directory, number, files)
    if len(files) > 1:
        path = directory / f"request-{number}.without-pictures.json"
        text = json.dumps(shown, indent=1, ensure_ascii=False)
        path.write_text(redactor.text(text), encoding="utf-8")
        files.append(path)
    return files


def _without_data_urls(content: Any, directory: Path, number: int, files: list[Path]) -> Any:
    """``content`` with each ``data:`` URL saved to a file and replaced by its name."""
    if isinstance(content, dict):
        return {
            name: _without_data_urls(its, directory, number, files) for name, its in content.items()
        }
    if isinstance(content, list):
        return [_without_data_urls(its, directory, number, files) for its in content]
    match = _DATA_URL.match(content) if isinstance(content, str) else None
    if match is None:
        return content
    try:
        data = base64.b64decode(content[match.end() :], validate=True)
    except (binascii.Error, ValueError):
        return content
    kind, ending = match[1].lower(), match[2].lower()
    path = directory / f"{kind}-{number}-{len(files)}.{_ENDINGS.get(ending, ending)}"
    path.write_bytes(data)
    files.append(path)
    return path.name


def _told(exchange: Exchange, error: str, answer: str) -> str:
    if exchange.status is None:
        return f"no answer: {error}" if error else "no answer yet"
    head = f"HTTP {exchange.status} {exchange.content_type}".rstrip()
    if exchange.seconds is not None:
        head += f" after {exchange.seconds:.2f} s"
    body = answer if len(answer) <= _LONGEST_SHOWN else answer[:_LONGEST_SHOWN] + "…"
    return f"{head}: {body}" if body else f"{head}, without a body that was read"
