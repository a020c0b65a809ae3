"""What the offline LLM says to a few questions, kept for comparing with the served model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from conformance.kept_answers import keep, kept
from fixtures.bank import Item, generate
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.engines.offline import OfflineLLM
from pytest_qwenvl.planning import PlannedDeployment

ABILITIES = ("colour", "position", "which_image", "number")
QUESTIONS_EACH = 4
# Said on both sides: a server would otherwise apply the model's own generation config.
SAMPLING: dict[str, Any] = {"repetition_penalty": 1.0, "top_k": 0, "top_p": 1.0}
MAX_TOKENS = 64
_FILE = "offline-answers.json"


def parity_questions(family: str) -> list[Item]:
    """The questions put to both engines of a model, the same on every run."""
    return [
        item
        for ability in ABILITIES
        for item in generate(ability, QUESTIONS_EACH, family=family, seed=1)
    ]


class OfflineAnswers:
    """Answers of offline LLMs by deployment, each asked for once in a run.

    They lie in the deployment's folder of the run: the served one may be another worker's, to
    whom it is given once the offline one is over.

    Args:
        wanted: ids of the offline deployments whose answers some selected test compares.
    """

    def __init__(self, session: EngineSession, wanted: Iterable[str]) -> None:
        self._session = session
        self._wanted = set(wanted)

    def record(self, planned: PlannedDeployment, llm: OfflineLLM) -> None:
        """Ask a running LLM now, if anybody will want to know."""
        if planned.id in self._wanted and self.of(planned) is None:
            keep(self._session, planned, _FILE, ask(planned, llm))

    def of(self, planned: PlannedDeployment) -> list[str] | None:
        """The answers of a deployment that ran already, in whatever process of this run."""
        return kept(self._session, planned, _FILE)


def ask(planned: PlannedDeployment, llm: OfflineLLM) -> list[str]:
    """Put the questions one by one, so that no batch shape comes into it."""
    answers = []
    for item in parity_questions(planned.profile.family):
        (answer,) = llm.generate([item.openai_messages()], max_tokens=MAX_TOKENS, **SAMPLING)
        answers.append(answer.text)
    return answers
