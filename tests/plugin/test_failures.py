"""What a failed test leaves behind: its requests, ready to be sent again, and no secrets."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.scripted import CHAT, HELLO, Scripted, scripted
from tests.plugin.attaching import KEY, SCRIPT, attach, attachable_suite, by_requirement
from tests.plugin.suite import Done, Suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return attachable_suite(tmp_path / "checkout")


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted(SCRIPT) as server:
        yield server


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


def test_of_a_server_of_our_own_the_log_of_that_moment_is_kept(tmp_path):
    suite = Suite(tmp_path / "checkout")
    suite.profile("alpha", "dies-on-describe")
    done = suite.run("-k", "answers", f"--conformance-report={suite.report}")
    assert done.code == 1, done.all
    (failed,) = (it for it in suite.read_report()["results"] if it["outcome"] == "FAIL")
    exchange = failed["exchanges"][0]
    assert exchange["status"] is None
    assert exchange["response"].startswith("no answer: ConnectionError")
    assert "Describe it." in exchange["curl"]
    assert "stand-in engine: dying" in failed["log"]
    assert "Starting to load model" not in failed["log"], "that was long before"
    folder = "evidence/QVL-SRV-002/alpha/serve-1npu/Describe-it"
    assert (suite.report / folder / "curl.sh").is_file()
    assert "request: curl -sS http://127.0.0.1:" in done.out
