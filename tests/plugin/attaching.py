"""A small suite for a server that somebody else started, and such a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.engines.scripted import CHAT, HELLO, Scripted, models
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


def attachable_suite(folder: Path) -> Suite:
    """A suite whose requirements need this and that of a server, and profile ``alpha`` for it."""
    suite = Suite(folder)
    entries = "".join(ENTRY.format(*row) for row in REQUIREMENTS)
    (suite.suite / "requirements.toml").write_text('version = "0.1"\n' + entries)
    (suite.suite / "test_suite.py").write_text(TESTS)
    suite.profile("alpha", deployments=[("serve", 1), ("serve", 2), ("offline", 1)])
    return suite


def attach(suite: Suite, server: Scripted, *arguments: str, **environment: str) -> Done:
    """Run the suite on ``server``."""
    return suite.run(
        f"--endpoint={server.url}/v1/",
        "--model=alpha",
        f"--conformance-report={suite.report}",
        *arguments,
        **environment,
    )


def by_requirement(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The report's results by the requirement they decide."""
    return {it["requirement"]: it for it in report["results"]}
