"""An evaluation against an earlier one of the same items: comparable, and no worse (pure)."""

from __future__ import annotations

from typing import Any

from pytest_qwenvl.measure.accuracy import invalid_reasons
from pytest_qwenvl.measure.judgement import Judgement
from pytest_qwenvl.measure.lm_eval_result import Evaluation, EvaluationItem
from pytest_qwenvl.measure.paired import PairedTest, judge_pairs
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.report.results import Outcome

_SHOWN = 5


def incomparable_reasons(new: Evaluation, old: Evaluation) -> list[str]:
    """Why two evaluations cannot be paired; empty when they can.

    Paired runs have the same task and version, harness and version of it, weights, chat template
    and number of images, and the same items: prompt, pictures and target. What may differ is what
    one wants to compare: the engine, its version and arguments, the devices.
    """
    reasons = []
    for what, its, other in (
        ("task", new.task, old.task),
        ("metric", new.metric, old.metric),
        ("task version", dict(new.task_versions), dict(old.task_versions)),
        ("harness", new.harness, old.harness),
        ("lm-eval", new.lm_eval_version, old.lm_eval_version),
        ("--limit", new.limit, old.limit),
        ("chat template", new.chat_template, old.chat_template),
        ("max_images", new.max_images, old.max_images),
    ):
        if its != other:
            reasons.append(f"{what}: {its} here, {other} in the baseline")
    if new.weights and old.weights and new.weights != old.weights:
        reasons.append(f"weights: {new.weights[:19]}… here, {old.weights[:19]}… in the baseline")
    elif not (new.weights and old.weights):
        where = "this run" if not new.weights else "the baseline"
        reasons.append(f"weights: {where} does not say of which weights its answers are")
    return reasons or _item_reasons(new, old)


def _item_reasons(new: Evaluation, old: Evaluation) -> list[str]:
    here, there = _by_document(new), _by_document(old)
    reasons = []
    if missing := sorted(there.keys() - here.keys()):
        reasons.append(f"items: {len(missing)} of the baseline's are not here: {_shown(missing)}")
    if added := sorted(here.keys() - there.keys()):
        reasons.append(f"items: {len(added)} are not in the baseline: {_shown(added)}")
    for what, name in (
        ("prompt", "prompt_digest"),
        ("pictures", "image_digests"),
        ("target", "target"),
    ):
        both = sorted(here.keys() & there.keys())
        other = [key for key in both if getattr(here[key], name) != getattr(there[key], name)]
        if other:
            reasons.append(f"items: another {what} in {len(other)}: {_shown(other)}")
    return reasons


def _by_document(evaluation: Evaluation) -> dict[tuple[str, int], EvaluationItem]:
    return {(item.task, item.doc_id): item for item in evaluation.items}


def _shown(keys: list[tuple[str, int]]) -> str:
    shown = ", ".join(f"{task} {doc_id}" for task, doc_id in keys[:_SHOWN])
    return shown + (" …" if len(keys) > _SHOWN else "")


def judge_against_baseline(new: Evaluation, old: Evaluation, floor: AccuracyFloor) -> Judgement:
    """Whether an evaluation is worse than an earlier one, item by item.

    INVALID when the two cannot be paired, or either is not what the profile's floor is about.
    PASS when a loss of the profile's margin is ruled out at the floor's confidence, were there
    even a smaller one that is certain. Else FAIL when the loss is proven (exact McNemar, at the
    margin's own confidence where it has one), and INCONCLUSIVE when the items can show neither.
    """
    evidence: dict[str, Any] = {
        "task": new.task,
        "score": new.score,
        "baseline_score": old.score,
        "baseline_file": str(old.path),
        "confidence": floor.confidence,
        "worse_confidence": _worse_confidence(floor),
        "margin": floor.margin.value if floor.margin else None,
    }
    reasons = incomparable_reasons(new, old)
    reasons += [f"this run: {it}" for it in invalid_reasons(new, floor)]
    reasons += [f"the baseline: {it}" for it in invalid_reasons(old, floor)]
    if reasons:
        evidence["invalid"] = reasons
        return Judgement(
            Outcome.INVALID, f"{new.task}: not compared: {'; '.join(reasons)}", evidence
        )
    here, there = _by_document(new), _by_document(old)
    lost = sorted(key for key, item in here.items() if there[key].correct and not item.correct)
    won = sorted(key for key, item in here.items() if item.correct and not there[key].correct)
    same = sum(item.answer == there[key].answer for key, item in here.items())
    # Without a margin nothing is within it; any number serves for the rest of the test.
    test = judge_pairs(
        len(lost),
        len(won),
        new.n,
        floor.margin.value if floor.margin else 0.5,
        floor.confidence,
        _worse_confidence(floor),
    )
    within = test.within and floor.margin is not None
    evidence |= {
        "items": new.n,
        "lost": [list(key) for key in lost],
        "won": [list(key) for key in won],
        "same_answers": same,
        "difference": test.difference,
        "difference_interval": list(test.interval),
        "p_worse": test.p_worse,
        "p_within": test.p_within if floor.margin else None,
    }
    low, high = test.interval
    seen = (
        f"{new.task}: {new.score:.4f} after {old.score:.4f}: {len(lost)} items lost, {len(won)} "
        f"won of {new.n} (difference {test.difference:+.4f}, 95 % interval {low:+.4f} to "
        f"{high:+.4f})"
    )
    return _concluded(test, within, seen, floor, evidence)


def _worse_confidence(floor: AccuracyFloor) -> float:
    own = floor.margin.worse_confidence if floor.margin else None
    return floor.confidence if own is None else own


def _concluded(
    test: PairedTest, within: bool, seen: str, floor: AccuracyFloor, evidence: dict[str, Any]
) -> Judgement:
    stated = f"at {floor.confidence:.4g} confidence"
    proven = f"at {_worse_confidence(floor):.4g} confidence"
    if floor.margin is None:
        unknown = "the profile states no margin, so that no run can be proven no worse"
    else:
        at = stated if stated == proven else f"({proven} and {stated})"
        unknown = f"neither a loss nor one below {floor.margin.value:g} is proven {at}"
    if within:
        assert floor.margin is not None
        small = "; a smaller loss is certain" if test.worse else ""
        return Judgement(
            Outcome.PASS,
            f"{seen}: no loss of {floor.margin.value:g} or more {stated}{small}",
            evidence,
        )
    if test.worse:
        return Judgement(
            Outcome.FAIL,
            f"{seen}: worse {proven} (exact McNemar, p = {test.p_worse:.2g})",
            evidence,
        )
    return Judgement(
        Outcome.INCONCLUSIVE,
        f"{seen}: {unknown}; more items, or a baseline on which fewer differ by chance",
        evidence,
    )
