"""A server comes up as the tutorial says, and answers as the tutorial shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.asking import (
    ask_all,
    chat,
    check_answers,
    choice_of,
    object_of,
    questions,
    text_of,
)
from conformance.log_reading import log_when
from conformance.tutorial import TUTORIAL_MESSAGES, TUTORIAL_TOKENS, reads_tongyi_qwen
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

pytestmark = pytest.mark.serve

START_UP_LINES = (
    "Started server process",
    "Waiting for application startup.",
    "Application startup complete.",
)
ACCESS_LINE = '"POST /v1/chat/completions HTTP/1.1" 200'


@pytest.mark.smoke
@pytest.mark.deployment_mode("serve")
@pytest.mark.requirement("QVL-SRV-001")
def test_becomes_ready(start_server: Callable[[], Endpoint], evidence: Evidence) -> None:
    """The server is ready: health, model list, a text and an image request."""
    server = start_server()
    evidence.record(base_url=server.base_url, model=server.model, seconds=server.ready_seconds)
    server.check_alive()


@pytest.mark.needs("log")
@pytest.mark.requirement("QVL-SRV-002")
def test_start_up_log(server: Endpoint, evidence: Evidence) -> None:
    """The three lines the tutorial shows are logged, in order."""
    log = server.log_since(0)
    found = [log.find(line) for line in START_UP_LINES]
    evidence.record(lines=dict(zip(START_UP_LINES, found, strict=True)))
    missing = [line for line, at in zip(START_UP_LINES, found, strict=True) if at < 0]
    assert not missing, f"expected in the server's log, not seen: {missing}"
    assert found == sorted(found), f"expected {START_UP_LINES} in this order, seen at {found}"


@pytest.mark.smoke
@pytest.mark.requirement("QVL-SRV-003")
def test_health_and_models(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """The server is healthy and lists its model with its context length."""
    health = server.request("GET", "/health")
    assert health.status_code == 200, f"/health: expected 200, seen {health.status_code}"
    models = server.request("GET", "/v1/models")
    evidence.record(models=models.text)
    assert models.status_code == 200, f"/v1/models: expected 200, seen {models.status_code}"
    listed = object_of(models).get("data")
    assert isinstance(listed, list), f"/v1/models: expected a list in data, seen {listed!r}"
    by_name = {one.get("id"): one for one in listed if isinstance(one, dict)}
    assert server.model in by_name, f"expected {server.model!r} listed, seen {list(by_name)}"
    expected = deployment.deployment.arguments.get("max_model_len")
    seen = by_name[server.model].get("max_model_len")
    assert expected is None or seen == expected, (
        f"expected max_model_len {expected} (the deployment's), seen {seen}"
    )


@pytest.mark.smoke
@pytest.mark.requirement("QVL-SRV-004")
def test_tutorial_request(server: Endpoint, evidence: Evidence) -> None:
    """The tutorial's request is answered with the text in its picture."""
    answer = chat(server, TUTORIAL_MESSAGES, max_tokens=TUTORIAL_TOKENS)
    evidence.record(answer=answer)
    for field in ("id", "object", "created", "model", "choices", "usage"):
        assert answer.get(field), f"expected the field {field!r}, seen {answer.get(field)!r}"
    text = text_of(answer)
    assert reads_tongyi_qwen(text), (
        f"expected an answer that reads TONGYI Qwen in the picture, seen {text[:500]!r}"
    )
    reason = choice_of(answer).get("finish_reason")
    assert reason == "stop", f"expected finish_reason stop, seen {reason!r}"


@pytest.mark.needs("log")
@pytest.mark.requirement("QVL-SRV-005")
def test_access_log(server: Endpoint, evidence: Evidence) -> None:
    """The server that was started logs the request it answered."""
    before = server.log_since(0).count(ACCESS_LINE)
    chat(server, TUTORIAL_MESSAGES, max_tokens=1)
    log = log_when(server, 0, lambda log: log.count(ACCESS_LINE) > before)
    after = log.count(ACCESS_LINE)
    evidence.record(before=before, after=after)
    assert after > before, f"expected a new line with {ACCESS_LINE} in the server's log, seen none"


@pytest.mark.requirement("QVL-SRV-006")
@pytest.mark.parametrize("ability", ["colour", "shape", "position", "count", "number", "describe"])
def test_understands_pictures(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence, ability: str
) -> None:
    """Questions about one picture are answered right."""
    items = questions(deployment.profile, ability)
    check_answers(deployment, ability, items, ask_all(server, items), evidence)


@pytest.mark.smoke
@pytest.mark.requirement("QVL-SRV-007")
def test_text_only(server: Endpoint, deployment: PlannedDeployment, evidence: Evidence) -> None:
    """Requests without an image are answered to the point."""
    items = questions(deployment.profile, "chat")
    check_answers(deployment, "chat", items, ask_all(server, items), evidence)


@pytest.mark.requirement("QVL-SRV-008")
@pytest.mark.parametrize("ability", ["system_upper", "system_prefix"])
def test_obeys_system_message(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence, ability: str
) -> None:
    """What the system message asks for shows in the answers."""
    items = questions(deployment.profile, ability)
    check_answers(deployment, ability, items, ask_all(server, items), evidence)


@pytest.mark.requirement("QVL-SRV-009")
def test_earlier_turn(server: Endpoint, deployment: PlannedDeployment, evidence: Evidence) -> None:
    """Questions about the picture of an earlier turn are answered right."""
    items = questions(deployment.profile, "earlier_turn")
    check_answers(deployment, "earlier_turn", items, ask_all(server, items), evidence)
