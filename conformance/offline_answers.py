"""What the offline LLM says to a few questions, kept for comparing with the served model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fixtures.bank import Item, generate
from pytest_qwenvl.engines.offline import OfflineLLM
from pytest_qwenvl.planning import Plan, PlannedDeployment

ABILITIES = ("colour", "position", "which_image", "number")
QUESTIONS_EACH = 4
# Said on both sides: a server would otherwise apply the model's own generation config.
SAMPLING: dict[str, Any] = {"repetition_penalty": 1.0, "top_k": 0, "top_p": 1.0}
MAX_TOKENS = 64


def parity_questions(family: str) -> list[Item]:
    """The questions put to both engines of a model, the same on every run."""
    return [
        item
        for ability in ABILITIES
        for item in generate(ability, QUESTIONS_EACH, family=family, seed=1)
    ]


def offline_partner(plan: Plan, served: PlannedDeployment) -> PlannedDeployment | None:
    """The offline deployment of the same model on as many devices, if the run has one."""
    for one in plan.deployments:
        if (one.profile.name, one.deployment.mode, one.deployment.npus) == (
            served.profile.name,
            "offline",
            served.deployment.npus,
        ):
            return one
    return None


class OfflineAnswers:
    """Answers of offline LLMs by deployment, each asked for once.

    Args:
        wanted: ids of the offline deployments whose answers some selected test compares.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        self._wanted = set(wanted)
        self._answers: dict[str, list[str]] = {}

    def record(self, planned: PlannedDeployment, llm: OfflineLLM) -> None:
        """Ask a running LLM now, if anybody will want to know."""
        if planned.id in self._wanted and planned.id not in self._answers:
            self._answers[planned.id] = ask(planned, llm)

    def of(self, planned: PlannedDeployment) -> list[str] | None:
        """The answers of a deployment that ran already."""
        return self._answers.get(planned.id)


def ask(planned: PlannedDeployment, llm: OfflineLLM) -> list[str]:
    """Put the questions one by one, so that no batch shape comes into it."""
    answers = []
    for item in parity_questions(planned.profile.family):
        (answer,) = llm.generate([item.openai_messages()], max_tokens=MAX_TOKENS, **SAMPLING)
        answers.append(answer.text)
    return answers
