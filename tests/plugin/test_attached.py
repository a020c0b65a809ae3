"""Runs on a server that somebody else started: what is asked, decided, listed and refused."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.scripted import CHAT, HELLO, Scripted, models, scripted
from tests.plugin.suite import Done, Suite

KEY = "sk-very-secret-0123456789"
TESTS = """\
import base64
import pytest

PICTURE = "data:image/png;base64," + base64.b64encode(b"\\x89PNG " + b"x" * 400).decode()

def body(server, text):
    parts = [{"type": "image_url", "image_url": {"url": PICTURE}}, {"type": "text", "text": text}]
    return {"model": server.model, "messages": [{"role": "user", "content": parts}]}

@pytest.mark.environment
@pytest.mark.requirement("QVL-ENV-001")
def test_host():
    assert not "there is nothing to see of an attached server's host"

@pytest.mark.requirement("QVL-SRV-001")
def test_starts(start_server):
    start_server()

@pytest.mark.needs("log")
@pytest.mark.requirement("QVL-SRV-002")
def test_logs(server):
    assert server.log_since(0)

@pytest.mark.serve
@pytest.mark.requirement("QVL-SRV-003")
def test_answers(server):
    for text in ("Say hello.", "Say more."):
        answer = server.request("POST", "/v1/chat/completions", json=body(server, text))
    assert answer.status_code == 200, f"expected 200, seen {answer.status_code}: {answer.text}"
    said = answer.json()["choices"][0]["message"]["content"]
    assert said == "Hello.", f"expected choices[0].message.content 'Hello.', seen {said!r}"

@pytest.mark.requirement("QVL-OFF-001")
def test_offline(offline_llm):
    offline_llm.generate([])

@pytest.mark.requirement("QVL-OAI-001")
def test_extended_tools(capabilities):
    capabilities.require("completions", "tools")

@pytest.mark.requirement("QVL-OAI-002")
def test_core_tools(capabilities):
    assert capabilities.has("completions")
    capabilities.require("tools")

@pytest.mark.requirement("QVL-OAI-003")
def test_client(openai_client, server):
    answer = openai_client.chat.completions.create(
        model=server.model, messages=[{"role": "user", "content": "Hi"}]
    )
    assert answer.choices[0].message.content == "Hello."
"""
ENTRY = """
[[requirement]]
id = "{}"
group = "{}"
level = "{}"
since = "0.1"
must = "It MUST {}."
rationale = "a test"
source = "a test"
"""
REQUIREMENTS = (
    ("QVL-ENV-001", "environment", "core", "have a host"),
    ("QVL-SRV-001", "serve", "core", "start"),
    ("QVL-SRV-002", "serve", "core", "log"),
    ("QVL-SRV-003", "serve", "core", "answer"),
    ("QVL-OFF-001", "offline", "core", "work offline"),
    ("QVL-OAI-001", "openai", "extended", "call tools"),
    ("QVL-OAI-002", "openai", "core", "call tools always"),
    ("QVL-OAI-003", "openai", "core", "please the client"),
)
SCRIPT: dict[str, tuple[int, Any]] = {
    "GET /health": (200, ""),
    "GET /v1/models": models("alpha"),
    CHAT: (200, HELLO),
    "POST /v1/completions": (200, {}),
}


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    suite = Suite(tmp_path / "checkout")
    entries = "".join(ENTRY.format(*row) for row in REQUIREMENTS)
    (suite.suite / "requirements.toml").write_text('version = "0.1"\n' + entries)
    (suite.suite / "test_suite.py").write_text(TESTS)
    suite.profile("alpha", deployments=[("serve", 1), ("serve", 2), ("offline", 1)])
    return suite


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted(SCRIPT) as server:
        yield server


def attach(suite: Suite, server: Scripted, *arguments: str, **environment: str) -> Done:
    return suite.run(
        f"--endpoint={server.url}/v1/",
        "--model=alpha",
        f"--conformance-report={suite.report}",
        *arguments,
        **environment,
    )


def by_requirement(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {it["requirement"]: it for it in report["results"]}


def test_what_can_be_decided_is_and_the_rest_is_listed(suite, server):
    done = attach(suite, server, "--deselect", "suite/test_suite.py::test_core_tools")
    assert done.code == 0, done.all
    report = suite.read_report()
    outcomes = {name: it["outcome"] for name, it in by_requirement(report).items()}
    assert outcomes == dict.fromkeys(["QVL-SRV-003", "QVL-OAI-001", "QVL-OAI-003"], "PASS")
    assert {(it["requirement"], it["reason"]) for it in report["undecided"]} == {
        ("QVL-ENV-001", "is about the engine's host"),
        ("QVL-SRV-001", "needs a start by this run"),
        ("QVL-SRV-002", "needs the engine's log"),
        ("QVL-OFF-001", "needs a start by this run"),
        ("", "the server is held to serve-1npu alone"),
    }
    assert report["not_run"] == []
    assert report["verdict"] == "CONFORMANT"
    assert report["endpoint"] == server.url
    assert report["backend"] == ""
    assert report["verdict_sentence"].startswith(f"CONFORMANT within `--endpoint={server.url} ")
    words = " ".join(done.out.split())
    assert "4 requirements are left undecided" in words
    assert "undecided, needs the engine's log: QVL-SRV-002" in words
    assert suite.processes() == []


def test_a_selection_lists_only_what_it_covers(suite, server):
    assert attach(suite, server, "-m", "serve").code == 0
    entries = suite.read_report()["undecided"]
    assert [(it["requirement"], it["deployment"]) for it in entries] == [("", "serve-2npu")]


def test_the_server_is_looked_at_once(suite, server):
    done = attach(suite, server, "-m", "serve", "-n1")
    assert done.code == 0, done.all
    assert server.lines == ["GET /health", "GET /v1/models", CHAT, CHAT]


def test_another_name_is_used_throughout(suite, server):
    server.script["GET /v1/models"] = models("Qwen/Qwen3-VL")
    done = attach(suite, server, "-m", "serve")
    assert done.code == 0, done.all
    assert {json.loads(it.body)["model"] for it in server.seen[2:]} == {"Qwen/Qwen3-VL"}
    assert [it["model"] for it in suite.read_report()["results"]] == ["alpha"]


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ({"GET /health": (401, "")}, (), "it wants a key; put it in a variable"),
        ({"GET /health": (503, ""), CHAT: (503, "loading")}, (), "/health answered HTTP 503"),
        ({"GET /v1/models": models("a", "b")}, (), "serves a, b; say which of them"),
        ({}, ("--api-key-env=NOT_SET",), "--api-key-env NOT_SET: no such variable"),
        ({}, ("--model=beta",), "needs exactly one --model"),
    ],
)
def test_a_server_that_cannot_be_attached_to_runs_nothing(suite, server, script, arguments, said):
    suite.profile("beta")
    server.script |= script
    done = attach(suite, server, *arguments)
    done.assert_usage_error(said)
    assert server.lines.count(CHAT) == (script.get(CHAT) is not None)


def test_a_server_that_is_not_there(suite, server):
    done = suite.run("--endpoint=http://127.0.0.1:9", "--model=alpha")
    done.assert_usage_error("--endpoint http://127.0.0.1:9 cannot be reached")


def test_collecting_asks_nothing(suite, server):
    done = attach(suite, server, "--collect-only", "-q")
    assert done.code == 0, done.all
    assert server.lines == []


def test_what_is_missing_excuses_extended_requirements_only(suite, server):
    server.script[CHAT] = (400, {"error": {"message": "tools are not supported"}})
    done = attach(suite, server, "-k", "tools", "-rs")
    assert done.code == 1, done.all
    report = suite.read_report()
    results = by_requirement(report)
    assert results["QVL-OAI-001"]["outcome"] == "UNSUPPORTED"
    assert "tools are not supported" in results["QVL-OAI-001"]["reason"]
    assert results["QVL-OAI-002"]["outcome"] == "FAIL"
    assert "expected tools, a core capability" in results["QVL-OAI-002"]["reason"]
    assert report["model_verdicts"][0]["counts"]["extended.UNSUPPORTED"] == 1
    assert "unsupported (extended): QVL-OAI-001" in done.out
    assert server.lines.count(CHAT) == 1, "a capability is asked for once"


def test_a_declared_lack_is_not_asked_for(suite, server):
    path = suite.profiles / "alpha.toml"
    text = path.read_text()
    path.write_text(text.replace("images = 4\n", "images = 4\ncapabilities = {tools = false}\n"))
    done = attach(suite, server, "-k", "extended_tools")
    assert done.code == 0, done.all
    (result,) = suite.read_report()["results"]
    assert result["outcome"] == "UNSUPPORTED"
    assert "the profile says that it has none" in result["reason"]
    assert CHAT not in server.lines


def test_a_need_that_nobody_knows(suite, server):
    tests = suite.suite / "test_suite.py"
    tests.write_text(TESTS.replace('needs("log")', 'needs("luck")'))
    done = attach(suite, server)
    assert done.code == 4, done.all
    assert "needs('luck'): known needs are launch, log, host, hardware" in done.all


# What a failure leaves behind.


@pytest.fixture
def failed(suite: Suite, server: Scripted) -> tuple[Done, dict[str, Any]]:
    wrong = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Good bye."}}]}
    server.script[CHAT] = (200, wrong)
    done = attach(suite, server, "-k", "answers or client", "--api-key-env=MY_KEY", MY_KEY=KEY)
    assert done.code == 1, done.all
    return done, by_requirement(suite.read_report())


def test_a_failure_says_all_that_an_engineer_needs(failed, suite, server):
    done, results = failed
    result = results["QVL-SRV-003"]
    exchange = result["exchanges"][0]
    assert exchange["status"] == 200
    assert exchange["response"].startswith("HTTP 200 application/json after ")
    assert "Good bye." in exchange["response"]
    for part in (
        "FAIL QVL-SRV-003 (core) on alpha/serve-1npu",
        "It MUST answer.",
        "expected choices[0].message.content 'Hello.', seen 'Good bye.'",
        f"request: {exchange['curl']}",
        "response: HTTP 200 application/json",
        "reproduce: pytest",
    ):
        assert part in done.out


def test_the_curl_line_sends_the_same_request_again(failed, suite, server, tmp_path):
    _, results = failed
    for name in ("QVL-SRV-003", "QVL-OAI-003"):
        exchange = results[name]["exchanges"][0]
        sent = next(it for it in reversed(server.seen) if (b"Hi" in it.body) == ("OAI" in name))
        said = subprocess.run(
            ["sh", "-c", exchange["curl"]],
            cwd=tmp_path,
            env={**os.environ, "MY_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert "Good bye." in said.stdout
        again = server.seen[-1]
        assert (again.line, again.body) == (sent.line, sent.body)
        for header in ("Authorization", "Content-Type"):
            assert again.headers[header] == sent.headers[header]


def test_the_script_in_the_folder_sends_them_all(failed, suite, server):
    folder = suite.report / "evidence" / "QVL-SRV-003" / "alpha" / "serve-1npu"
    before = len(server.seen)
    environment = {**os.environ, "MY_KEY": KEY}
    subprocess.run([str(folder / "curl.sh")], env=environment, check=True, timeout=60)
    assert [it.body for it in server.seen[before:]] == [
        it.body for it in sorted(server.seen[:before], key=lambda it: b"Say hello" in it.body)
        if b"Say " in it.body
    ]  # fmt: skip


def test_pictures_are_saved_beside_the_request(failed, suite):
    _, results = failed
    files = {Path(name).name: suite.report / name for name in
             results["QVL-SRV-003"]["exchanges"][0]["files"]}  # fmt: skip
    assert files["image-1-1.png"].read_bytes().startswith(b"\x89PNG ")
    shown = json.loads(files["request-1.without-pictures.json"].read_text())
    assert shown["messages"][0]["content"][0]["image_url"]["url"] == "image-1-1.png"
    assert "Good bye." in files["response-1.json"].read_text()


def test_the_key_is_nowhere(failed, suite):
    done, _ = failed
    assert KEY not in done.all
    assert '-H "Authorization: Bearer ${MY_KEY}"' in done.out
    for path in suite.report.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_an_echoed_key_is_hidden(suite, server):
    server.script[CHAT] = (500, {"error": {"message": f"no such key: {KEY}"}})
    done = attach(suite, server, "-k", "answers or client", "--api-key-env=MY_KEY", MY_KEY=KEY)
    assert done.code == 1
    assert "no such key: [redacted]" in done.out
    assert KEY not in done.all
    for path in suite.report.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_what_an_earlier_run_saved_is_gone(failed, suite, server):
    server.script[CHAT] = (200, HELLO)
    mine = suite.report / "evidence" / "notes.txt"
    mine.write_text("mine")
    assert attach(suite, server, "-k", "answers or client").code == 0
    assert [path.name for path in mine.parent.iterdir()] == ["notes.txt"]
