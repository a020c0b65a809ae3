"""Runs on a server that somebody else started: what is asked, decided, listed and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.scripted import CHAT, Scripted, models, scripted
from tests.plugin.attaching import SCRIPT, TESTS, attach, attachable_suite, by_requirement
from tests.plugin.suite import Suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return attachable_suite(tmp_path / "checkout")


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted(SCRIPT) as server:
        yield server


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
    assert server.lines == ["GET /health", "GET /v1/models", "GET /version", CHAT, CHAT]
    assert "attached server" not in suite.read_report()["versions"]


@pytest.mark.parametrize("said", ["oops", [], {"version": 1}, {"version": "0.32.0"}])
def test_the_version_is_what_the_server_says(suite, server, said):
    server.script["GET /version"] = (200, said)
    assert attach(suite, server, "-m", "serve").code == 0
    version = "0.32.0" if said == {"version": "0.32.0"} else None
    assert suite.read_report()["versions"].get("attached server") == version


def test_another_name_is_used_throughout(suite, server):
    server.script["GET /v1/models"] = models("Qwen/Qwen3-VL")
    done = attach(suite, server, "-m", "serve")
    assert done.code == 0, done.all
    assert {json.loads(it.body)["model"] for it in server.seen[3:]} == {"Qwen/Qwen3-VL"}
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
