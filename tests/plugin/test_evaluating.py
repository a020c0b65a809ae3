"""Evaluating a served model: what is run, what it may know, and whose failure a failure is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_qwenvl import evaluating
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import EngineDiedError, EngineError, MeasurementError
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile import Deployment, ModelProfile
from tests.measure.evaluations import floor

KEY = "sk-very-secret-0123456789"
FLOOR = floor(
    task="qwenvl_bank", metric="acc,none", items=8, harness="local-chat-completions",
    deployment="serve-1npu",
)  # fmt: skip
RECORDED = Path(__file__).parents[1] / "measure" / "samples" / "lm-eval-served"


class Session:
    """As much of an EngineSession as an evaluation of a server uses; starts nothing."""

    def __init__(self, folder: Path, endpoint: str | None = None) -> None:
        self.folder = folder
        self.interpreter = SimpleNamespace(path=Path("/engine/python"), has_lm_eval=True)
        self.plan = SimpleNamespace(endpoint=endpoint)
        self.told: list[str] = []

    def directory_of(self, _: PlannedDeployment) -> Path:
        return self.folder

    def environment(self) -> dict[str, str]:
        return {"OVERLAY": "1"}

    @contextlib.contextmanager
    def steps(self, _: str) -> Iterator[Any]:
        yield SimpleNamespace(update=self.told.append)


def planned(weights: Path | None) -> PlannedDeployment:
    profile = ModelProfile.model_construct(name="alpha", path=Path("alpha.toml"), accuracy=[FLOOR])
    deployment = Deployment.model_validate(
        {"name": "serve-1npu", "mode": "serve", "npus": 1, "images": 4}
    )
    return PlannedDeployment(profile, deployment, weights)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was run; each run leaves what lm-eval left when it was recorded."""
    runs: list[Any] = []

    def run(session: Any, kind: str, _: Any, launch: Any, lease: Any, *given: Any) -> None:
        runs.append(launch)
        assert (kind, lease) == ("lm-eval", None)
        given[-1]("evaluated 4 of 8, score so far 0.7500")
        reasons = Path(launch.argv[2])
        results = Path(launch.argv[launch.argv.index("--output_path") + 1])
        for path in RECORDED.rglob("*.json*"):
            copy = reasons if path.name == reasons.name else results / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())

    monkeypatch.setattr(evaluating, "run_program", run)
    return runs


@pytest.mark.parametrize("attached", [False, True])
def test_what_is_run_and_read(tmp_path: Path, ran: list[Any], attached: bool) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"weights")
    session: Any = Session(tmp_path / "run", "http://host" if attached else None)
    server = Endpoint("http://host", "alpha", KEY)
    read = evaluating.run_served_lm_eval(session, planned(weights), server, FLOOR)
    (launch,) = ran
    assert launch.argv[3] == "acc,none"
    # What whoever serves has loaded, nobody saw.
    assert bool(read.weights) is not attached
    assert [it.finish_reason for it in read.items] == ["stop"] * 8
    assert session.told == ["score so far 0.7500 (4 of 8 answers)"]
    assert KEY not in json.dumps(launch.argv)
    assert launch.environment["OPENAI_API_KEY"] == KEY
    # The client must not open a device of its server.
    assert launch.environment["TORCH_DEVICE_BACKEND_AUTOLOAD"] == "0"
    assert launch.environment["OVERLAY"] == "1"


def test_a_server_without_a_key(tmp_path: Path, ran: list[Any]) -> None:
    session: Any = Session(tmp_path)
    evaluating.run_served_lm_eval(session, planned(None), Endpoint("http://host", "alpha"), FLOOR)
    assert ran[0].environment["OPENAI_API_KEY"] == "EMPTY"


def failing(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    def run(_: Any, __: Any, ___: Any, launch: Any, *____: Any) -> None:
        Path(launch.argv[2]).write_text(line)
        raise MeasurementError("lm-eval exited with status 1")

    monkeypatch.setattr(evaluating, "run_program", run)


def test_a_request_without_an_answer_is_the_servers_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, '{"prompt_digest": "a", "error": "ClientResponseError: 500"}\n')
    session: Any = Session(tmp_path)
    with pytest.raises(EngineError, match=r"did not answer a request .*: ClientResponseError: 500"):
        evaluating.run_served_lm_eval(session, planned(None), Endpoint("http://h", "a"), FLOOR)


def test_a_program_that_failed_is_not_the_servers_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, '{"prompt_digest": "a", "answer": "Red", "finish_reason": "stop"}\n')
    session: Any = Session(tmp_path)
    with pytest.raises(MeasurementError, match="status 1"):
        evaluating.run_served_lm_eval(session, planned(None), Endpoint("http://h", "a"), FLOOR)


def test_an_engine_that_died_is_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dead(Endpoint):
        def check_alive(self, patience: float = 0.0) -> None:
            raise EngineDiedError(f"exited with status 137 (looked for {patience:g} s)")

    failing(monkeypatch, '{"prompt_digest": "a", "error": "ServerDisconnectedError"}\n')
    session: Any = Session(tmp_path)
    with pytest.raises(EngineDiedError, match="status 137"):
        evaluating.run_served_lm_eval(session, planned(None), Dead("http://h", "a"), FLOOR)


def test_without_lm_eval(tmp_path: Path) -> None:
    session: Any = Session(tmp_path)
    session.interpreter.has_lm_eval = False
    with pytest.raises(MeasurementError, match=r"has no lm-eval.*pytest-qwenvl\[accuracy\]"):
        evaluating.run_served_lm_eval(session, planned(None), Endpoint("http://h", "a"), FLOOR)
