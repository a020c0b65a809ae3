"""Whether an evaluation's answers are any: not empty, readable, not cut off (pure).

lm-eval guesses at random where it cannot read an answer, so a model that answers in another form
keeps the score of a guesser, and one that is cut off that of its first words.
"""

from __future__ import annotations

import re
from typing import Any

from pytest_qwenvl.measure.judgement import Judgement
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.report.results import Outcome

CUT_OFF = "length"
"""vLLM's finish reason of an answer that ended at the token limit."""


def answer_counts(evaluation: Evaluation, floor: AccuracyFloor) -> dict[str, int | None]:
    """How many answers are ``empty``, ``unparseable`` and ``cut_off``.

    None for what cannot be told: no pattern of a readable answer in the profile, no finish reasons
    from the harness. An empty answer is not counted as unparseable too.
    """
    limits = floor.answers
    given = [item.answer for item in evaluation.items if item.answer.strip()]
    unparseable = None
    if limits is not None and limits.pattern is not None:
        readable = re.compile(limits.pattern)
        unparseable = sum(readable.search(answer) is None for answer in given)
    told = all(item.finish_reason for item in evaluation.items)
    return {
        "empty": len(evaluation.items) - len(given),
        "unparseable": unparseable,
        "cut_off": sum(item.finish_reason == CUT_OFF for item in evaluation.items)
        if told
        else None,
    }


def answer_problems(evaluation: Evaluation, floor: AccuracyFloor) -> list[str]:
    """One sentence for each kind of bad answer of which there are more than the profile allows."""
    counts = answer_counts(evaluation, floor)
    n = len(evaluation.items)
    allowed = {"empty": floor.maximum_empty}
    if floor.answers is not None:
        allowed |= {"unparseable": floor.answers.unparseable, "cut_off": floor.answers.cut_off}
    problems = []
    for kind, share in allowed.items():
        count = counts[kind]
        if count is not None and count > share * n:
            named = kind.replace("_", " ")
            problems.append(f"{count} of {n} answers are {named}, {share:.1%} may be")
    return problems


def judge_answers(evaluation: Evaluation, floor: AccuracyFloor) -> Judgement:
    """Hold the shares of empty, unreadable and cut-off answers against the profile's.

    Counts of these very answers, so no test and no confidence. INCONCLUSIVE where the profile
    limits cut-off answers and the harness does not tell why answers ended.
    """
    counts = answer_counts(evaluation, floor)
    n = len(evaluation.items)
    evidence: dict[str, Any] = {
        "task": evaluation.task,
        "items": n,
        **counts,
        "maximum_empty": floor.maximum_empty,
    }
    if floor.answers is not None:
        evidence["limits"] = floor.answers.model_dump(mode="json")
    if problems := answer_problems(evaluation, floor):
        return Judgement(Outcome.FAIL, f"{floor.task}: {'; '.join(problems)}", evidence)
    if floor.answers is not None and counts["cut_off"] is None:
        return Judgement(
            Outcome.INCONCLUSIVE,
            f"{floor.task}: the harness did not tell why its answers ended, so that nobody knows "
            f"how many of {n} were cut off; run it with this version's pytest-qwenvl",
            evidence,
        )
    seen = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items() if count)
    return Judgement(
        Outcome.PASS, f"{floor.task}: of {n} answers {seen or 'none is empty or cut off'}", evidence
    )
