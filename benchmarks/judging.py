"""Judging a large report again: how long it takes, and how much memory."""

from __future__ import annotations

import hashlib
import os
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Figure

_MODELS, _REQUESTS, _ITEMS = 10, 1000, 900
_REPEATS = 5
_ROOT = Path(__file__).resolve().parents[1]
_OFFLINE, _SERVE = "offline-1npu", "serve-1npu"
_WORDS = ("the", "picture", "shows", "a", "red", "circle", "left", "of", "two", "blue", "squares")


def measure() -> list[Figure]:
    """Seconds and megabytes of ``pytest-qwenvl gate``, without and with a baseline as large."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.json", Path(folder) / "after.json"
        for number, path in enumerate((before, after)):
            path.write_text(large_report(number), encoding="utf-8")
        what = f"judging {_MODELS} models, {_REQUESTS} requests and {_ITEMS} items each"
        alone = [_gate(after) for _ in range(_REPEATS)]
        compared = [_gate(after, "--baseline", str(before)) for _ in range(_REPEATS)]
    return [
        Figure(what, median(seconds for seconds, _ in alone), 2, "s"),
        Figure("its memory", max(memory for _, memory in alone), 300, "MB"),
        Figure("the same against a baseline", median(s for s, _ in compared), 4, "s"),
        Figure("its memory", max(memory for _, memory in compared), 300, "MB"),
    ]


def _gate(report: Path, *options: str) -> tuple[float, float]:
    """Processor seconds and peak megabytes of one run of the program, which has one thread.

    Not the clock's: what else the host does is no property of the program.
    """
    command = [sys.executable, "-m", "pytest_qwenvl.cli", "gate", str(report), *options]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    pid = os.posix_spawn(sys.executable, command, environment, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    seconds = usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    # Two loads of a thousand requests need not be enough to say that neither is slower.
    if code not in ((0, 3) if options else (0,)):
        raise SystemExit(f"gate on a report in which all passed exited with {code}")
    return seconds, usage.ru_maxrss / 1000


def large_report(number: int) -> str:
    """A report in which everything measured passed, as JSON; ``number`` tells two of them apart."""
    from pytest_qwenvl import __version__
    from pytest_qwenvl.catalogue import load_catalogue
    from pytest_qwenvl.profile_loading import load_profiles
    from pytest_qwenvl.report.results import RunRecord
    from pytest_qwenvl.report.verdict import judge_run

    catalogue = load_catalogue(_ROOT / "conformance" / "requirements.toml")
    profile = load_profiles([_ROOT / "conformance" / "profiles"])["qwen3-vl-tiny"]
    floor = profile.accuracy[0].model_copy(update={"items": _ITEMS, "floor": 0.5})
    workload = profile.latency[0].model_copy(update={"num_prompts": _REQUESTS})
    kept = profile.model_copy(update={"accuracy": [floor], "latency": [workload]})
    measurements = {
        "evaluation": (_OFFLINE, _evaluation(floor.task, floor.metric, number)),
        "load": (_SERVE, _load(workload, number)),
    }
    judges = {"score": "evaluation", "answers": "evaluation", "load": "load", "budgets": "load"}
    results: list[dict[str, Any]] = []
    for index in range(_MODELS):
        first: set[str] = set()
        for requirement in catalogue:
            kind = judges.get(requirement.judge)
            if kind is None:
                continue
            deployment, raw = measurements[kind]
            results.append(
                {
                    "requirement": requirement.id,
                    "group": requirement.group,
                    "level": requirement.level,
                    "test": requirement.id,
                    "model": f"model-{index}",
                    "deployment": deployment,
                    "outcome": "PASS",
                    "evidence": {"measurement": f"{kind} {raw['name']}" if kind in first else raw},
                }
            )
            first.add(kind)
    run = RunRecord.model_validate(
        {
            "suite_version": __version__,
            "catalogue_version": catalogue.version,
            "run_id": f"large-{number}",
            "started": 0.0,
            "complete": True,
            "backend": "cpu",
            "npus": 2,
            "requirements": list(catalogue),
            "profiles": {
                f"model-{index}": kept.model_dump(mode="json") for index in range(_MODELS)
            },
            "results": results,
        }
    )
    return judge_run(run).model_dump_json(indent=2)


def _evaluation(task: str, metric: str, number: int) -> dict[str, Any]:
    from pytest_qwenvl.measure.accuracy_evidence import as_evidence
    from pytest_qwenvl.measure.lm_eval_result import Evaluation, EvaluationItem

    words = random.Random(number)

    def item(index: int) -> EvaluationItem:
        prompt = hashlib.sha256(f"{task} {index}".encode()).hexdigest()
        answer = " ".join(words.choices(_WORDS, k=100))
        right = float(index % 10 < 6)
        return EvaluationItem(task, index, prompt, (prompt,) * 2, answer, "A", "A", right, "stop")

    items = tuple(map(item, range(_ITEMS)))
    score = sum(it.score for it in items) / _ITEMS
    whole = Evaluation(
        path=Path("results.json"), task=task, metric=metric, harness="vllm-vlm", score=score,
        stderr=0.016, items=items, limit=None, chat_template=True, max_images=10,
        task_versions={task: "1.0"}, lm_eval_version="0.4.13", model_arguments={},
        weights="sha256:" + "0" * 64,
    )  # fmt: skip
    return as_evidence(whole)


def _load(workload: Any, number: int) -> dict[str, Any]:
    from pytest_qwenvl.measure.bench_result import LoadResult, RequestRow
    from pytest_qwenvl.measure.load_evidence import as_evidence
    from pytest_qwenvl.measure.surroundings import Surroundings

    draw = random.Random(number)

    def row(index: int) -> RequestRow:
        ttft = draw.uniform(0.1, 0.12)
        tokens = workload.output_tokens
        e2el = ttft + (tokens - 1) * draw.uniform(0.01, 0.012)
        gap = (e2el - ttft) / (tokens - 1)
        return RequestRow(index / workload.request_rate, ttft, e2el, gap, 200, tokens, "")

    load = LoadResult(
        path=Path("bench.json"), num_prompts=_REQUESTS, completed=_REQUESTS, failed=0,
        duration=_REQUESTS / workload.request_rate + 1.0, request_throughput=workload.request_rate,
        request_rate=workload.request_rate, max_concurrency=None,
        rows=tuple(map(row, range(_REQUESTS))), client_times=True,
        queue_times=(0.0,) * _REQUESTS, reported={},
    )  # fmt: skip
    counters = {"prefix_cache_queries": 200.0 * _REQUESTS, "prefix_cache_hits": 0.0}
    around = Surroundings(engine=counters)
    told = {"workload": workload.name, "hardware": "cpu", "npus": 1, "seed": 0}
    return as_evidence(replace(load, surroundings=around, **told))
