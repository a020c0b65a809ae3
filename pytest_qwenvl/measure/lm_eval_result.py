"""What lm-eval left: one item an answer, read strictly.

lm-eval only logs a warning when it cannot write its files, and its exit status is 0 all the same,
so files are checked against each other: every document of the task once, and the mean of the items
equal to the reported score.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.strict_json import parse_measured, read_object
from pytest_qwenvl.profile_accuracy import SERVED_HARNESS

PROGRAM = "lm_eval"
# For evaluations that come back from a report: nothing misspelt, nothing that is no number.
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class EvaluationItem:
    """One item of an evaluation.

    Attributes:
        task: the task, or the subtask where the evaluation is of a group.
        doc_id: index of the document within that task.
        prompt_digest: sha256 (hex) of the prompt, chat template included, images not; of the
            messages as JSON where the server applies the template.
        image_digests: of the images the document has, as lm-eval logs them; those beyond
            ``max_images`` never reach the model.
        answer: what the model wrote.
        parsed: what the task's filter made of it.
        target: the expected answer, as text.
        score: of this item; 1 is right, 0 is wrong.
        finish_reason: ``stop``, or ``length`` for an answer cut off at the token limit; empty
            where the harness did not tell.
    """

    __pydantic_config__ = STRICT

    task: str
    doc_id: int
    prompt_digest: str
    image_digests: tuple[str, ...]
    answer: str
    parsed: str
    target: str
    score: float
    finish_reason: str = ""

    @property
    def correct(self) -> bool:
        """Whether the answer is entirely right."""
        return self.score == 1


@dataclass(frozen=True)
class Evaluation:
    """An evaluation, whole.

    Attributes:
        path: the file with the aggregated results.
        metric: lm-eval's key, e.g. ``acc,none``.
        score: as lm-eval reports it; equal to the mean over the items.
        stderr: as lm-eval reports it; None where it has none.
        items: every document once, in order.
        limit: of ``--limit``; None for a whole evaluation.
        chat_template: whether one was applied, by lm-eval or, to messages, by the server.
        max_images: of the model arguments; None where lm-eval was not told (999; one for a server).
        task_versions: of the task, or of each subtask.
        model_arguments: as lm-eval recorded them.
        weights: digest of the weights, ``sha256:…``; empty where nobody took it.
    """

    __pydantic_config__ = STRICT

    path: Path
    task: str
    metric: str
    harness: str
    score: float
    stderr: float | None
    items: tuple[EvaluationItem, ...]
    limit: float | None
    chat_template: bool
    max_images: int | None
    task_versions: Mapping[str, str]
    lm_eval_version: str
    model_arguments: Mapping[str, Any]
    weights: str = ""

    @property
    def n(self) -> int:
        """How many items there are."""
        return len(self.items)


def read_lm_eval(directory: Path, task: str, metric: str) -> Evaluation:
    """Read what ``lm_eval --output_path DIRECTORY --log_samples`` wrote for one task or group.

    Args:
        directory: as given to lm-eval; the model's own folder is found below it.
        task: name of the task or group.
        metric: lm-eval's key, ``NAME,FILTER``.

    Raises:
        MeasurementError: a file is missing, truncated or ambiguous; there are no samples; an item
            is missing or there twice; a number is NaN; the items do not give the reported score.
    """
    path = _only_result(directory)
    data = read_object(path, PROGRAM)
    scores = _mapping(data, "results", path).get(task, data.get("groups", {}).get(task))
    if not isinstance(scores, dict):
        known = ", ".join(_mapping(data, "results", path)) or "none"
        raise MeasurementError(f"{path} has no results of task {task!r}; it has: {known}")
    if metric not in scores:
        known = ", ".join(key for key in scores if "," in key)
        raise MeasurementError(f"{path}: {task} has no metric {metric!r}; it has: {known}")
    score = _number(scores[metric], f"{path}: {task} {metric}")
    name, _, filter_name = metric.partition(",")
    stderr = scores.get(f"{name}_stderr,{filter_name}")
    config = _mapping(data, "config", path)
    leaves = _leaves(task, data)
    harness = str(config.get("model"))
    served = harness == SERVED_HARNESS
    items = tuple(
        item for leaf in leaves for item in _items(path, leaf, name, filter_name, data, served)
    )
    if not items:
        raise MeasurementError(f"{path}: {task} has no samples; run lm_eval with --log_samples")
    check_items(items, score, f"{path}: {task} {metric}")
    versions = data.get("versions") or {}
    model_arguments = config.get("model_args")
    model_arguments = model_arguments if isinstance(model_arguments, dict) else {}
    # Without being told, lm-eval sends a server one picture, and drops the others.
    max_images = model_arguments.get("max_images", 1 if served else None)
    limit = config.get("limit")
    return Evaluation(
        path=path,
        task=task,
        metric=metric,
        harness=harness,
        score=score,
        stderr=None if stderr in (None, "N/A") else _number(stderr, f"{path}: {task} stderr"),
        items=items,
        limit=None if limit is None else _number(limit, f"{path}: limit"),
        # A server applies its own to the messages, and lm-eval notes none.
        chat_template=served or bool(data.get("chat_template")),
        max_images=None if max_images is None else int(max_images),
        task_versions={leaf: str(versions.get(leaf)) for leaf in leaves},
        lm_eval_version=str(data.get("lm_eval_version")),
        model_arguments=model_arguments,
    )


def check_items(items: Sequence[EvaluationItem], score: float, what: str) -> None:
    """Raise MeasurementError unless every item is there once and their mean is ``score``."""
    if not items:
        raise MeasurementError(f"{what}: no items")
    if len({(item.task, item.doc_id) for item in items}) != len(items):
        raise MeasurementError(f"{what}: an item is there twice")
    mean = math.fsum(item.score for item in items) / len(items)
    if abs(mean - score) > 1e-6:
        raise MeasurementError(
            f"{what} is reported as {score:.6f}, but its {len(items)} items give {mean:.6f}: "
            "results and samples are not of the same evaluation"
        )


def _only_result(directory: Path) -> Path:
    found = sorted(directory.rglob("results_*.json"))
    if not found:
        raise MeasurementError(
            f"lm_eval left no results_*.json below {directory}; it exits 0 even when it cannot "
            "write them: see its log"
        )
    if len(found) > 1:
        raise MeasurementError(
            f"{len(found)} results_*.json below {directory}; which one is meant? Give lm_eval an "
            "empty directory"
        )
    return found[0]


def _mapping(data: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise MeasurementError(f"{path} has no object {key!r}: not written by lm-eval 0.4?")
    return value


def _number(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise MeasurementError(f"{where} is {value!r}; expected a number")
    return float(value)


def _leaves(task: str, data: Mapping[str, Any]) -> list[str]:
    """The tasks below a group, in lm-eval's order; the task itself where it is none."""
    subtasks = data.get("group_subtasks") or {}
    found: list[str] = []
    waiting, seen = [task], {task}
    while waiting:
        name = waiting.pop(0)
        below = [child for child in subtasks.get(name) or [] if child != name]
        if not below:
            found.append(name)
        waiting += [child for child in below if child not in seen]
        seen.update(below)
    return found


def _items(
    result: Path,
    task: str,
    metric: str,
    filter_name: str,
    data: Mapping[str, Any],
    served: bool,
) -> list[EvaluationItem]:
    stamp = result.stem.removeprefix("results_")
    path = result.with_name(f"samples_{task}_{stamp}.jsonl")
    items: dict[int, EvaluationItem] = {}
    for number, sample in _lines(path):
        where = f"{path}, line {number}"
        if sample.get("filter") != filter_name:
            continue
        item = _item(sample, task, metric, where, served)
        if item.doc_id in items:
            raise MeasurementError(f"{where}: document {item.doc_id} is there twice")
        items[item.doc_id] = item
    counts = (data.get("n-samples") or {}).get(task) or {}
    expected = counts.get("effective")
    if not isinstance(expected, int):
        raise MeasurementError(f"{result} does not say how many documents {task} has (n-samples)")
    missing = [doc_id for doc_id in range(expected) if doc_id not in items]
    if missing or len(items) != expected:
        raise MeasurementError(
            f"{path}: {len(items)} of {expected} documents of {task} have a sample with filter "
            f"{filter_name!r}; missing: {', '.join(map(str, missing[:10]))}"
        )
    return [items[doc_id] for doc_id in sorted(items)]


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise MeasurementError(
            f"lm_eval left no readable samples: {path}: {problem}; run it with --log_samples, and "
            "see its log"
        ) from problem
    # Not splitlines(): answers may hold U+2028 and its like, which JSON does not escape.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            sample = parse_measured(line)
        except (ValueError, RecursionError) as problem:
            raise MeasurementError(f"{path}, line {number}: {problem}: truncated?") from problem
        if not isinstance(sample, dict):
            raise MeasurementError(f"{path}, line {number}: not an object")
        yield number, sample


def _item(
    sample: Mapping[str, Any], task: str, metric: str, where: str, served: bool
) -> EvaluationItem:
    try:
        doc_id = sample["doc_id"]
        arguments = sample["arguments"]["gen_args_0"]
        prompt = arguments["arg_0"]
        if served:
            prompt = _messages(prompt, where)
        answer = sample["resps"][0][0]
        parsed = sample["filtered_resps"][0]
        target = str(sample["target"])
        score = sample[metric]
    except (KeyError, IndexError, TypeError) as problem:
        raise MeasurementError(f"{where}: no {problem} where lm-eval 0.4.13 has it") from problem
    if not isinstance(doc_id, int) or isinstance(doc_id, bool) or doc_id < 0:
        raise MeasurementError(f"{where}: doc_id is {doc_id!r}; expected a whole number")
    if not isinstance(prompt, str) or not isinstance(answer, str):
        raise MeasurementError(
            f"{where}: prompt or answer is no text; only tasks of generated text can be judged"
        )
    visuals = (arguments.get("arg_2") or {}).get("visual") or []
    return EvaluationItem(
        task=task,
        doc_id=doc_id,
        prompt_digest=hashlib.sha256(prompt.encode()).hexdigest(),
        image_digests=tuple(str(visual) for visual in visuals),
        answer=answer,
        parsed=parsed if isinstance(parsed, str) else str(parsed),
        target=target,
        score=_number(score, f"{where}: {metric}"),
    )


def _messages(prompt: Any, where: str) -> str:
    """The conversation that a server was sent, as JSON, which lm-eval logs as a list of one."""
    if not isinstance(prompt, list) or len(prompt) != 1:
        raise MeasurementError(
            f"{where}: the prompt is no conversation; run lm_eval with --apply_chat_template, "
            "without which a server's chat template is applied to nothing"
        )
    return str(prompt[0])
