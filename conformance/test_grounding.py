"""Boxes around what is asked for, in the family's own coordinates."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest

from conformance.asking import ask_all, check_answers, questions
from fixtures.bank import Item, generate
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

pytestmark = pytest.mark.grounding

ABILITY = "box"
# How much longer than wide, or wider than long, so that swapped axes put a box elsewhere.
_LONG = 1.5


def _floor(deployment: PlannedDeployment) -> float:
    """The share of right boxes that the profile asks for; skips where it asks for none."""
    floors = deployment.profile.understanding.floors
    if ABILITY not in floors:
        pytest.skip(f"the profile {deployment.profile.name} states no floor for boxes")
    return floors[ABILITY]


@pytest.mark.requirement("QVL-GRD-001")
def test_boxes(server: Endpoint, deployment: PlannedDeployment, evidence: Evidence) -> None:
    """Enough boxes overlap their object by half or more."""
    _floor(deployment)
    items = questions(deployment.profile, ABILITY)
    answers = ask_all(server, items)
    evidence.record(overlaps=_overlaps(items, answers))
    check_answers(deployment, ABILITY, items, answers, evidence)


@pytest.mark.requirement("QVL-GRD-002")
def test_boxes_in_long_pictures(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """So do boxes in pictures that are much longer than wide, or wider than long."""
    _floor(deployment)
    profile = deployment.profile
    wanted = profile.understanding.items
    drawn = generate(ABILITY, 8 * wanted, family=profile.family, constants=profile.image, seed=2)
    tall = [it for it in drawn if it.pictures[0].height >= _LONG * it.pictures[0].width]
    wide = [it for it in drawn if it.pictures[0].width >= _LONG * it.pictures[0].height]
    items = tall[: wanted // 2] + wide[: wanted // 2]
    answers = ask_all(server, items)
    evidence.record(overlaps=_overlaps(items, answers))
    check_answers(deployment, ABILITY, items, answers, evidence)


@pytest.mark.requirement("QVL-GRD-003")
def test_boxes_are_json(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Where JSON is asked for, boxes come as a JSON list of bbox_2d and label."""
    floor = _floor(deployment)
    items = questions(deployment.profile, ABILITY, seed=8)
    answers = ask_all(server, items)
    problems = [_problem(answer) for answer in answers]
    evidence.record(floor=floor, answers=answers, problems=problems)
    good = problems.count("")
    assert good >= floor * len(items), (
        f"expected at least {floor:.0%} of the answers to be JSON lists of bbox_2d and label, "
        f"seen {good} of {len(items)}:\n"
        + "\n".join(
            f"  {problem}: {answer!r}"
            for problem, answer in zip(problems, answers, strict=True)
            if problem
        )
    )


def _overlaps(items: Sequence[Item], answers: Sequence[str]) -> dict[str, float]:
    return {
        item.id: round(item.iou(answer), 3) for item, answer in zip(items, answers, strict=True)
    }


def _problem(answer: str) -> str:
    """What is wrong with a list of boxes, fenced as code or not; empty when nothing is."""
    fenced = re.search(r"```(?:json)?\s*(.*?)```", answer, re.DOTALL)
    try:
        entries = json.loads(fenced[1] if fenced else answer)
    except ValueError as problem:
        return f"no JSON ({problem})"
    if isinstance(entries, dict):
        entries = [entries]  # a single box is written without its list by some models
    if not isinstance(entries, list) or not entries:
        return "no list with an entry"
    for entry in entries:
        box = entry.get("bbox_2d") if isinstance(entry, dict) else None
        if not isinstance(box, list) or len(box) != 4:
            return "no bbox_2d of four numbers"
        if any(isinstance(it, bool) or not isinstance(it, int | float) for it in box):
            return "a bbox_2d that is no number"
        if not (box[0] < box[2] and box[1] < box[3]):
            return "a bbox_2d whose corners are not top left and bottom right"
        if not isinstance(entry.get("label"), str):
            return "no label"
    return ""
