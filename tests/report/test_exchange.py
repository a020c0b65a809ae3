"""Which of a test's requests a failure is about, and how it is sent again."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.engines.exchanges import (
    LARGEST_ANSWER,
    LARGEST_BODY,
    MOST_BYTES,
    MOST_EXCHANGES,
    Exchange,
    Journal,
)
from pytest_qwenvl.report.exchange import curl_line, in_question, save_exchanges
from tests.engines.scripted import CHAT, scripted

KEY = "sk-0123456789"


@pytest.fixture
def journal() -> Journal:
    return Journal()


def exchange(
    journal: Journal,
    body: object = b"",
    answer: str = "",
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    key: str | None = None,
    url: str = "http://127.0.0.1:1/v1/chat/completions",
) -> Exchange:
    endpoint = Endpoint("http://127.0.0.1:1", "tiny", key, api_key_env="MY_KEY" if key else None)
    made = journal.open(endpoint, method, url, headers or {}, body)
    made.status = 200
    made.hear(answer.encode())
    return made


def asked(journal: Journal, question: str, said: str) -> Exchange:
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": question}]}]}
    answer = {"choices": [{"message": {"content": said}}]}
    return exchange(journal, json.dumps(body), json.dumps(answer))


def test_the_answer_that_the_reason_quotes_is_the_one(journal):
    sent = [asked(journal, f"Which colour is thing {n}?", f"blue{n}") for n in range(5)]
    reason = "colour: seen 4 of 5\n  'Which colour is thing 2?'\n  expected 'red', seen 'blue2'"
    assert in_question(sent, [], reason)[0] is sent[2]
    assert in_question(sent, [], f"expected 400, seen 200: {sent[1].answer.decode()}")[0] is sent[1]


def test_without_a_quotation_it_is_the_last(journal):
    sent = [asked(journal, "What is it?", str(n)) for n in range(3)]
    assert in_question(sent, [], "expected 4 more tokens")[0] is sent[-1]


def test_a_failed_connection_is_told_first(journal):
    sent = [asked(journal, "A", "fine"), asked(journal, "B", "fine"), asked(journal, "C", "fine")]
    sent[1].failed(ConnectionError("reset by peer"))
    assert in_question(sent, [], "expected 4, seen 5")[0] is sent[1]
    assert in_question(sent, [], "ConnectionError: reset by peer")[0] is sent[1]


def test_earlier_requests_count_only_when_quoted(journal):
    earlier = [asked(journal, "Which number is shown?", "forty-one")]
    assert in_question([], earlier, "nothing of it") == []
    assert in_question([], earlier, "expected '42', seen 'forty-one'") == [], "merely alike"
    assert in_question([], earlier, "Which number is shown? seen 'forty-one'") == earlier
    earlier[0].failed(ConnectionError("refused"))
    assert in_question([], earlier, "an offline LLM's failure") == []
    own = [asked(journal, "Hello?", "Hello.")]
    assert in_question(own, earlier, "seen 'Hello.', not 'forty-one'") == own


@pytest.mark.parametrize("body", [b"{", b'"text"', b"[1]", b'{"messages": 1}', None, b"\xff\xfe"])
def test_odd_bodies_and_answers_are_borne(journal, body):
    sent = [exchange(journal, body, answer) for answer in ("", "[]", '{"choices": []}', "<html>")]
    assert in_question(sent, [], "broken")[0] is sent[-1]


@pytest.mark.parametrize(
    ("method", "body", "headers"),
    [
        ("GET", None, {}),
        ("DELETE", None, {"X-Odd": "a 'quoted' \"value\" $HOME `id`"}),
        ("POST", b'{"a": "it\'s $HOME"}', {"Content-Type": "application/json"}),
        ("POST", b"not JSON \x00\xff\n", {"Content-Type": "text/plain"}),
        ("PUT", b"x" * 5000, {}),
        ("POST", ('"äöü"' + " " * 500 + "\n").encode(), {"Content-Type": "application/json"}),
        ("POST", b"a=b", {"Authorization": f"Bearer {KEY}"}),
    ],
)  # fmt: skip
def test_the_command_sends_the_very_request(journal, tmp_path, method, body, headers):
    with scripted({f"{method} /x": (200, {"fine": True})}) as server:
        made = exchange(
            journal, body, method=method, headers=headers, key=KEY, url=f"{server.url}/x"
        )
        folder = tmp_path / "with a space"
        (record,) = save_exchanges([made], folder, tmp_path)
        assert KEY not in record.curl
        for command, place in (
            (record.curl, tmp_path),
            (shlex.quote(str(folder / "curl.sh")), "/"),
        ):
            said = subprocess.run(
                ["sh", "-c", command], cwd=place, env={"PATH": "/usr/bin:/bin", "MY_KEY": KEY},
                capture_output=True, text=True, timeout=60, check=True,
            )  # fmt: skip
            assert said.stdout == '{"fine": true}'
            seen = server.seen[-1]
            assert (seen.line, seen.body) == (f"{method} /x", body or b"")
            assert {name: seen.headers.get(name) for name in headers} == headers
            assert seen.headers.get("Content-Type") == headers.get("Content-Type")


def test_a_secret_is_in_no_file(journal, tmp_path):
    url = "data:image/png;base64,aGVsbG8="
    body = json.dumps({"note": KEY, "image": url, "text": "x" * 400})
    made = exchange(journal, body, f"you sent {KEY}", key=KEY,
                    headers={"Authorization": f"Bearer {KEY}", "X-Api-Key": "other"})  # fmt: skip
    (record,) = save_exchanges([made], tmp_path / "e", tmp_path, ["another-secret"])
    assert "${MY_KEY}" in record.curl
    assert "[redacted]" in record.curl
    assert record.response.endswith("you sent [redacted]")
    for path in (tmp_path / "e").iterdir():
        assert KEY.encode() not in path.read_bytes(), path
    assert (tmp_path / "e" / "image-1-1.png").read_bytes() == b"hello"


def test_a_body_that_was_not_kept_is_named(journal):
    made = exchange(journal, b"x" * (LARGEST_BODY + 1))
    assert made.body is None
    assert curl_line(made, None).endswith(f"# and a body of {LARGEST_BODY + 1} bytes, not kept")


def test_the_journal_is_bounded(journal):
    for _ in range(MOST_EXCHANGES + 10):
        exchange(journal)
    assert len(journal.since(0)) == MOST_EXCHANGES
    assert journal.last == MOST_EXCHANGES + 10
    large = bytes(LARGEST_BODY)
    for _ in range(10):
        exchange(journal, large, "x" * (LARGEST_ANSWER + 5))
    kept = journal.since(0)
    assert sum(len(it.body or b"") for it in kept) <= MOST_BYTES
    assert all(len(it.answer) <= LARGEST_ANSWER for it in kept)


def test_an_endpoint_keeps_what_it_sends_and_hears():
    script: dict[str, tuple[int, Any]] = {CHAT: (400, {"error": "no"}), "GET /s": (200, "a\nb\n")}
    with scripted(script) as server:
        endpoint = Endpoint(server.url, "tiny")
        endpoint.journal = Journal()
        endpoint.request("POST", "/v1/chat/completions", json={"a": 1})
        with endpoint.request("GET", "/s", stream=True) as response:
            unread = endpoint.journal.since(1)[0].answer
            assert list(response.iter_lines()) == [b"a", b"b"]
        endpoint.stop()
    posted, streamed = endpoint.journal.since(0)
    assert (posted.status, json.loads(posted.answer)) == (400, {"error": "no"})
    assert json.loads(posted.body or b"") == {"a": 1}
    assert (unread, streamed.answer) == (b"", b"a\nb\n")


def test_a_connection_that_fails_is_kept():
    with scripted({}) as server:
        url = server.url
    endpoint = Endpoint(url, "tiny")
    endpoint.journal = Journal()
    with pytest.raises(OSError, match="refused"):
        endpoint.request("GET", "/health")
    (kept,) = endpoint.journal.since(0)
    assert kept.status is None
    assert "ConnectionError" in kept.error


def test_files_are_named_relative_to_the_report(journal, tmp_path):
    (record,) = save_exchanges(
        [exchange(journal, b"y" * 400, "z")], tmp_path / "evidence" / "QVL-SRV-003", tmp_path
    )
    assert record.files == (
        "evidence/QVL-SRV-003/request-1.bin",
        "evidence/QVL-SRV-003/response-1.txt",
    )
    assert all((tmp_path / name).is_file() for name in record.files)
    assert Path(shlex.split(record.curl)[-1].removeprefix("@")) == tmp_path / record.files[0]
