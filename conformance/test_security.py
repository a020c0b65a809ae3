"""Who may ask, for what, and what a refusal tells."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conformance import crafted_pngs, malformed
from conformance.log_reading import log_when
from conformance.malformed import CHAT, Case, hello, url_case
from conformance.refusing import Answer, Refusing, check_still_serves, send_all
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence

pytestmark = pytest.mark.security

# What vLLM guards with a key: everything below /v1.
GUARDED = (
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/no-such-endpoint"),
)
WRONG_KEYS = ("Bearer wrong", "Bearer ", "Bearer", "Basic d3Jvbmc6d3Jvbmc=", "wrong", "")
# There only in a development server, under a profiler, or for elastic deployments.
DEVELOPMENT = (
    "/start_profile",
    "/stop_profile",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/collective_rpc",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/reset_encoder_cache",
    "/release_kv_cache_memory",
    "/server_info",
    "/update_weights",
    "/pause",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/debug",
    "/.env",
)
# An address in memory, a place in a program, a file of the host: none is a client's business.
LEAKS = {
    "a memory address": re.compile(r"\b0x[0-9a-fA-F]{6,}"),
    "a traceback": re.compile(r"Traceback \(most recent call last\)"),
    "a line of a program": re.compile(r"File \"[^\"]+\", line \d+|\bline \d+, in \w+"),
    "a path": re.compile(
        r"(?<![\w:/.])/(?:home|usr|opt|root|tmp|var|mnt|srv|lib|etc|proc|data|work|workspace)/[\w.\-]+"
    ),
    "a program's file": re.compile(r"(?<![\w:/.])(?:/[\w.\-]+)+\.(?:py|so|pyc)\b"),
    "an installation": re.compile(r"site-packages|dist-packages"),
}


@pytest.mark.requirement("QVL-SEC-001")
def test_api_key(server: Endpoint, evidence: Evidence) -> None:
    """With a key configured, /v1 asks for it and /health does not; without one, nothing does."""
    body = json.dumps(hello(server)).encode()
    expected = 401 if server.api_key else 200
    evidence.record(key_configured=bool(server.api_key))
    wrong = []
    for key in WRONG_KEYS:
        for method, path in GUARDED if server.api_key else GUARDED[:2]:
            response = server.request(
                method,
                path,
                data=body if method == "POST" else None,
                headers={"Authorization": key, "Content-Type": "application/json"},
            )
            evidence.append("requests", {"key": key, "path": path, "status": response.status_code})
            if response.status_code != expected:
                wrong.append(f"{method} {path} with {key!r}: seen {response.status_code}")
    assert not wrong, f"expected {expected} for each of these keys\n  " + "\n  ".join(wrong[:10])
    open_path = server.request("GET", "/health", headers={"Authorization": ""})
    assert open_path.status_code == 200, (
        f"/health without a key: expected 200 as vLLM promises, seen {open_path.status_code}"
    )
    check_still_serves(server, "wrong keys")


@pytest.mark.requirement("QVL-SEC-002")
def test_credentials_not_echoed(server: Endpoint, evidence: Evidence) -> None:
    """What a client sends as a secret is in no answer to it."""
    secret = f"sk-{uuid.uuid4().hex}"
    ways = {
        "as a key": {"Authorization": f"Bearer {secret}"},
        "as a cookie": {"Cookie": f"session={secret}"},
        "as another header": {"X-Api-Key": secret},
    }
    requests = (("POST", CHAT, b"[]"), ("POST", CHAT, b"{"), ("GET", "/v1/no-such-endpoint", None))
    for name, headers in ways.items():
        for method, path, data in requests:
            sent = {"Content-Type": "application/json", "Connection": "close", **headers}
            response = server.request(method, path, data=data, headers=sent)
            evidence.append("answers", {"way": name, "path": path, "status": response.status_code})
            assert response.status_code >= 400, f"{method} {path}: expected a refusal"
            told = response.text + str(dict(response.headers))
            assert secret not in told, (
                f"a secret sent {name} to {path}: expected it in no answer, seen {told[:300]!r}"
            )


@pytest.mark.requirement("QVL-SEC-003")
def test_local_files(server: Endpoint, refuses: Refusing, tmp_path: Path) -> None:
    """Files of the server's host are not read, and what is in them is not told."""
    picture = tmp_path / "picture.png"
    picture.write_bytes(crafted_pngs.png_of_one_colour(64))
    secret = f"secret-{uuid.uuid4().hex}"
    text = tmp_path / "secret.txt"
    text.write_text(secret)
    for each in (tmp_path, picture, text):
        each.chmod(0o755)
    urls = {
        "a picture": f"file://{picture}",
        "a text": f"file://{text}",
        "with a host": f"file://localhost{picture}",
        "in capitals": f"FILE://{picture}",
        "one slash": f"file:{picture}",
        "upwards": f"file:///tmp/../..{text}",
        "encoded": "file://" + str(text).replace("/", "%2f"),
        "no such file": "file:///no/such/picture.png",
        "the environment": "file:///proc/self/environ",
        "without a scheme": str(picture),
    }
    answers = refuses([url_case(server, name, url) for name, url in urls.items()])
    told = [answer.case.name for answer in answers if secret in answer.text]
    assert not told, f"expected the file's text in no answer, seen in that to: {', '.join(told)}"


@pytest.mark.requirement("QVL-SEC-007")
def test_errors_tell_nothing(server: Endpoint, refuses: Refusing, evidence: Evidence) -> None:
    """No refusal, whatever for, tells addresses, paths or lines of the program."""
    cases = [*malformed.all_kinds(server), *_more_refusals(server)]
    answers = send_all(server, cases)
    refused = [answer for answer in answers if answer.status >= 400]
    assert len(refused) > len(cases) // 2, (
        f"expected most of {len(cases)} wrong requests to be refused, seen {len(refused)}"
    )
    told: list[str] = []
    known: list[str] = []
    for answer in refused:
        if what := _told(answer):
            fault = refuses.known(answer.case.name, "inside", answer.text)
            (told if fault is None else known).append(
                f"{answer.case.name}: {', '.join(what)}: {answer.text[:250]!r}"
            )
    evidence.record(refusals=len(refused), leaks=told, known_faults=known)
    assert not told, (
        f"in {len(told)} of {len(refused)} refusals: expected nothing of the server's inside\n  "
        + "\n  ".join(told[:5])
    )


def _told(answer: Answer) -> list[str]:
    """What of the server's inside an answer tells; what the request itself said does not count."""
    sent = set(re.findall(r"[\w./\-]{4,}", answer.case.body.decode(errors="replace")))
    return [
        what
        for what, pattern in LEAKS.items()
        if any(
            not any(match[0] in word for word in sent) for match in pattern.finditer(answer.text)
        )
    ]


def _more_refusals(server: Endpoint) -> Iterator[Case]:
    yield url_case(server, "a local file", "file:///no/such/picture.png")
    yield url_case(server, "a bomb", malformed.picture_url(crafted_pngs.png_of_one_colour(14_000)))
    yield Case("unknown path", b"{}", path="/v1/no-such-endpoint")
    yield Case("another model", json.dumps(hello(server) | {"model": "no-such-model"}).encode())
    yield malformed.fields_case(server, "a template", chat_template="{{ 1/0 }}")
    yield malformed.fields_case(server, "a schema", response_format={"type": "json_schema"})
    for path in ("/tokenize", "/detokenize", "/v1/completions", "/v1/responses", "/v1/messages"):
        yield Case(f"nothing for {path}", b"{}", path=path)
        yield Case(f"a list for {path}", b"[[1]]", path=path)


@pytest.mark.requirement("QVL-SEC-010")
def test_development_endpoints(server: Endpoint, evidence: Evidence) -> None:
    """What only a development server offers is not there.

    Asked with GET alone, which does nothing: a path that takes POST would answer 405.
    """
    absent = server.request("GET", f"/{uuid.uuid4().hex}").status_code
    assert absent >= 400, f"a path that nothing has: expected a refusal, seen {absent}"

    def status_of(path: str) -> int:
        return server.request("GET", path).status_code

    with ThreadPoolExecutor(8) as pool:
        seen = dict(zip(DEVELOPMENT, pool.map(status_of, DEVELOPMENT), strict=True))
    evidence.record(absent=absent, seen=seen)
    there = [f"{path} ({status})" for path, status in seen.items() if status != absent]
    assert not there, (
        f"expected {absent} as for any path that is not there, seen {', '.join(there)}; was the "
        "server started with VLLM_SERVER_DEV_MODE or a profiler?"
    )


@pytest.mark.needs("log")
@pytest.mark.requirement("QVL-SEC-012")
def test_log_keeps_secrets(server: Endpoint, evidence: Evidence) -> None:
    """At the default level, the log holds neither what was asked nor who asked."""
    secret = f"secret{uuid.uuid4().hex}"
    start = server.log_offset()
    messages = [{"role": "user", "content": f"Say hello to {secret}."}]
    good = hello(server, messages=messages, user=secret)
    for body in (good, good | {"temperature": -1}, good | {"messages": messages * 2, "n": "x"}):
        server.request("POST", CHAT, json=body)
    server.request("GET", "/v1/models", headers={"Authorization": f"Bearer {secret}"})
    # A line after all of ours shows that ours were written.
    last = f"/no-such-path/{uuid.uuid4().hex}"
    server.request("GET", last)
    log = log_when(server, start, lambda log: last in log)
    told = [line for line in log.splitlines() if secret in line]
    evidence.record(lines=len(log.splitlines()), told=[line[:300] for line in told])
    assert log.strip(), "expected the server to log the requests, seen nothing in its log"
    assert not told, f"expected prompts and keys in no line of the log, seen {told[0][:300]!r}"


@pytest.mark.requirement("QVL-SEC-014")
def test_server_header(server: Endpoint, evidence: Evidence) -> None:
    """No header tells which version of what is asked."""
    headers: dict[str, str] = {}
    for path in ("/health", "/v1/models", "/no-such-path"):
        headers |= dict(server.request("GET", path).headers)
    telling = {
        name: value
        for name, value in headers.items()
        if name.lower() in {"server", "x-powered-by", "via"} and re.search(r"\d+\.\d+", value)
    }
    evidence.record(headers=headers)
    assert not telling, f"expected no version in the headers, seen {telling}"


@pytest.mark.requirement("QVL-SEC-015")
def test_foreign_origins(server: Endpoint, evidence: Evidence) -> None:
    """A page of any other site is not let in with its visitor's credentials."""
    origin = "http://elsewhere.example"
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for method, path in (("OPTIONS", CHAT), ("GET", "/v1/models")):
        answer = server.request(method, path, headers=asked).headers
        allowed = answer.get("Access-Control-Allow-Origin", "")
        credentials = answer.get("Access-Control-Allow-Credentials", "")
        evidence.append(
            "answers", {"method": method, "origin": allowed, "credentials": credentials}
        )
        assert not (allowed in (origin, "*") and credentials.lower() == "true"), (
            f"{method} {path} from {origin}: expected no credentials for any origin, seen "
            f"Access-Control-Allow-Origin {allowed!r} with credentials"
        )
    status = server.request("GET", "/v1/models").status_code
    assert status == 200, f"/v1/models, of no origin: expected 200, seen {status}"
