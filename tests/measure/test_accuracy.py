"""lm-eval's command line, its files read strictly, and the one-sided judgement of a score."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.accuracy import (
    judge_accuracy,
    lm_eval_arguments,
    read_lm_eval,
)
from pytest_qwenvl.profile import ModelProfile
from pytest_qwenvl.report.results import Outcome
from tests.measure.evaluations import METRIC, evaluation, floor

RECORDED = Path(__file__).parent / "samples" / "lm-eval"
PROFILE = ModelProfile.model_construct(name="qwen3-vl-8b")  # only its name is read


# --- the command line -------------------------------------------------------------------------


def test_the_tutorials_command_line() -> None:
    arguments = lm_eval_arguments(
        PROFILE,
        floor(task="mmmu_val", metric="acc,none", items=900, batch_size=32,
              model_arguments={"max_model_len": 8192, "gpu_memory_utilization": 0.7}),
        weights="Qwen/Qwen3-VL-8B-Instruct",
        output_path=Path("results"),
    )  # fmt: skip
    assert arguments == [
        "--model", "vllm-vlm",
        "--model_args",
        "pretrained=Qwen/Qwen3-VL-8B-Instruct,max_model_len=8192,gpu_memory_utilization=0.7",
        "--tasks", "mmmu_val", "--batch_size", "32",
        "--apply_chat_template", "--trust_remote_code",
        "--output_path", "results", "--log_samples",
    ]  # fmt: skip


def model_arguments(**kwargs: Any) -> str:
    arguments = lm_eval_arguments(
        PROFILE, floor(), output_path=Path("out"), **{"weights": "weights", **kwargs}
    )
    return arguments[arguments.index("--model_args") + 1]


def test_arguments_of_the_task_win_over_the_engines() -> None:
    text = lm_eval_arguments(
        PROFILE,
        floor(model_arguments={"max_model_len": 2048}),
        weights="w",
        output_path=Path("out"),
        include_path=Path("tasks"),
        max_images=3,
        engine_arguments={"max_model_len": 16384, "enforce_eager": True, "quantization": None,
                          "limit_mm_per_prompt": {"image": 10}},
    )  # fmt: skip
    assert "pretrained=w,max_model_len=2048,enforce_eager=True,max_images=3" in text
    assert text[text.index("--include_path") + 1] == "tasks"


@pytest.mark.parametrize(
    "value",
    [{"image": 3, "video": 0}, [1, 2], "a,b=c", "/with space", "{x}", "true", "None", "123", "-",
     "1e5", -1, 2.0, ""],
)  # fmt: skip
def test_what_key_value_text_would_change_goes_as_json(value: Any) -> None:
    text = model_arguments(engine_arguments={"some": value})
    assert json.loads(text) == {"pretrained": "weights", "some": value}


@pytest.mark.parametrize("value", ["bfloat16", "/weights/Qwen2.5-VL", "Qwen/Q_1", True, 0, 7, 0.5])
def test_what_key_value_text_keeps(value: Any) -> None:
    assert model_arguments(engine_arguments={"some": value}) == f"pretrained=weights,some={value}"


def test_weights_with_a_comma() -> None:
    assert json.loads(model_arguments(weights="/a,b"))["pretrained"] == "/a,b"


# --- reading ----------------------------------------------------------------------------------


def test_recorded_evaluation() -> None:
    read = read_lm_eval(RECORDED, "colours", METRIC)
    assert (read.n, read.score, read.stderr) == (6, 0.0, 0.0)
    assert (read.harness, read.lm_eval_version) == ("vllm-vlm", "0.4.13")
    assert (read.limit, read.chat_template, read.max_images) == (None, True, 3)
    assert read.task_versions == {"colours": "1.0"}
    assert [len(item.image_digests) for item in read.items] == [1, 2, 1, 2, 1, 1]
    assert [item.target for item in read.items] == ["red", "blue", "green", "red", "white", "black"]
    first = json.loads(next(RECORDED.rglob("samples_*")).read_text().splitlines()[0])
    assert read.items[0].prompt_digest == first["prompt_hash"]
    assert not any(item.correct for item in read.items)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the recorded evaluation, to be corrupted."""
    shutil.copytree(RECORDED, tmp_path / "out")
    return tmp_path / "out"


def results(directory: Path) -> Path:
    return next(directory.rglob("results_*.json"))


def samples(directory: Path) -> Path:
    return next(directory.rglob("samples_*.jsonl"))


def edit_results(directory: Path, edit: Callable[[Any], object]) -> None:
    data = json.loads(results(directory).read_text())
    edit(data)
    results(directory).write_text(json.dumps(data))


def edit_samples(directory: Path, edit: Callable[[list[Any]], object]) -> None:
    lines = [json.loads(line) for line in samples(directory).read_text().splitlines()]
    edit(lines)
    samples(directory).write_text("".join(json.dumps(line) + "\n" for line in lines))


def cut(path: Path, keep: float) -> None:
    text = path.read_text()
    path.write_text(text[: int(len(text) * keep)])


CORRUPTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no files": (shutil.rmtree, "no results_"),
    "no results": (lambda out: results(out).unlink(), "no results_"),
    "no samples": (lambda out: samples(out).unlink(), "no readable samples"),
    "empty samples": (lambda out: samples(out).write_text(""), "0 of 6 documents"),
    "truncated results": (lambda out: cut(results(out), 0.5), "cannot be judged"),
    "truncated samples": (lambda out: cut(samples(out), 0.5), "truncated"),
    "two evaluations": (lambda out: shutil.copy(results(out), results(out).with_name(
        "results_2026-11-22T17-00-00.json")), "which one"),
    "samples of another evaluation": (lambda out: samples(out).rename(
        samples(out).with_name("samples_colours_2026-11-22T17-00-00.jsonl")), "no readable"),
    "NaN score": (lambda out: edit_results(
        out, lambda data: data["results"]["colours"].update({METRIC: float("nan")})), "NaN"),
    "text for a score": (lambda out: edit_results(
        out, lambda data: data["results"]["colours"].update({METRIC: "0.5"})), "'0.5'"),
    "another score": (lambda out: edit_results(
        out, lambda data: data["results"]["colours"].update({METRIC: 0.5})), "its 6 items give"),
    "no such task": (lambda out: edit_results(
        out, lambda data: data.update(results={"shapes": {}})), "it has: shapes"),
    "no such metric": (lambda out: edit_results(
        out, lambda data: data["results"].update(colours={"acc,none": 1})), "it has: acc,none"),
    "no config": (lambda out: edit_results(out, lambda data: data.pop("config")), "'config'"),
    "no count": (lambda out: edit_results(out, lambda data: data.pop("n-samples")), "n-samples"),
    "more documents than items": (lambda out: edit_results(
        out, lambda data: data["n-samples"]["colours"].update(effective=7)), "6 of 7.*missing: 6"),
    "an item missing": (lambda out: edit_samples(out, lambda lines: lines.pop(2)), "missing: 2"),
    "an item twice": (lambda out: edit_samples(
        out, lambda lines: lines.append(lines[2])), "document 2 is there twice"),
    "an item in place of another": (lambda out: edit_samples(
        out, lambda lines: lines[2].update(doc_id=9)), "missing: 2"),
    "another filter": (lambda out: edit_samples(
        out, lambda lines: lines[2].update(filter="strict")), "missing: 2"),
    "no answer": (lambda out: edit_samples(out, lambda lines: lines[0].update(resps=[])), "no "),
    "log-likelihoods": (lambda out: edit_samples(
        out, lambda lines: lines[0].update(resps=[[["-1.5", "True"]]])), "no text"),
    "no score of an item": (lambda out: edit_samples(
        out, lambda lines: lines[0].pop("exact_match")), "exact_match"),
    "NaN score of an item": (lambda out: edit_samples(
        out, lambda lines: lines[0].update(exact_match=float("nan"))), "NaN"),
    "negative document": (lambda out: edit_samples(
        out, lambda lines: lines[0].update(doc_id=-1)), "doc_id is -1"),
}  # fmt: skip


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupt_evaluation_is_an_error(name: str, copy: Path) -> None:
    corrupt, problem = CORRUPTIONS[name]
    corrupt(copy)
    with pytest.raises(MeasurementError, match=problem):
        read_lm_eval(copy, "colours", METRIC)


def test_a_group_is_its_subtasks(copy: Path) -> None:
    stamp = results(copy).stem.removeprefix("results_")
    shutil.copy(samples(copy), samples(copy).with_name(f"samples_shades_{stamp}.jsonl"))
    edit_results(copy, lambda data: data.update(
        groups={"all": {METRIC: 0.0, "exact_match_stderr,none": "N/A"}},
        group_subtasks={"all": ["some", "shades"], "some": ["colours"]},
        **{"n-samples": {"colours": {"effective": 6}, "shades": {"effective": 6}}},
    ))  # fmt: skip
    read = read_lm_eval(copy, "all", METRIC)
    assert read.n == 12
    assert {(item.task, item.doc_id) for item in read.items} == {
        (task, index) for task in ("colours", "shades") for index in range(6)
    }
    assert read.stderr is None
    assert set(read.task_versions) == {"colours", "shades"}


def test_answers_with_line_separators(copy: Path) -> None:
    samples(copy).write_text(
        samples(copy).read_text().replace('"target": "red"', '"target": "re\u2028d"'),
        encoding="utf-8",
    )
    assert read_lm_eval(copy, "colours", METRIC).items[0].target == "re\u2028d"


# --- judging ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "n", "limit", "outcome"),
    [
        (900, 900, 0.54, Outcome.PASS),
        (486, 900, 0.54, Outcome.PASS),
        (485, 900, 0.54, Outcome.INCONCLUSIVE),
        (461, 900, 0.54, Outcome.INCONCLUSIVE),
        (460, 900, 0.54, Outcome.FAIL),
        (0, 900, 0.54, Outcome.FAIL),
        (119, 120, 1.0, Outcome.FAIL),
        (120, 120, 1.0, Outcome.PASS),
        (0, 3, 0.5, Outcome.INCONCLUSIVE),
        (0, 120, 0.0, Outcome.PASS),
    ],
)
def test_one_sided_judgement(right: int, n: int, limit: float, outcome: Outcome) -> None:
    judgement = judge_accuracy(evaluation(right, n), floor(floor=limit, items=n))
    assert judgement.outcome is outcome, judgement.sentence
    assert f"{right} of {n} right" in judgement.sentence
    json.dumps(judgement.evidence)


def test_inconclusive_says_what_would_prove_it() -> None:
    judgement = judge_accuracy(evaluation(470, 900), floor(floor=0.54, items=900))
    assert "460 right or fewer would prove it" in judgement.sentence
    assert judgement.evidence["largest_failing"] == 460
    few = judge_accuracy(evaluation(0, 3), floor(items=3))
    assert "it takes more items" in few.sentence


def test_far_above_is_a_note_and_no_failure() -> None:
    far = judge_accuracy(evaluation(700, 900), floor(floor=0.54, items=900))
    assert far.outcome is Outcome.PASS
    assert "above the floor" in far.evidence["note"]
    near = judge_accuracy(evaluation(500, 900), floor(floor=0.54, items=900))
    assert "note" not in near.evidence


def test_uncalibrated_floor_is_labelled() -> None:
    judgement = judge_accuracy(evaluation(4, 6), floor(calibrated=False))
    assert judgement.evidence["calibrated"] is False
    assert "not calibrated" in judgement.sentence
    # It can show a broken model, and can make no run CONFORMANT.
    assert judgement.outcome is Outcome.INCONCLUSIVE
    broken = judge_accuracy(evaluation(0, 6), floor(calibrated=False))
    assert broken.outcome is Outcome.FAIL
    assert "not calibrated" in broken.sentence


@pytest.mark.parametrize(("empty", "outcome"), [(2, Outcome.PASS), (3, Outcome.FAIL)])
def test_empty_answers_make_the_score_meaningless(empty: int, outcome: Outcome) -> None:
    judgement = judge_accuracy(
        evaluation(80, 100, empty=empty), floor(items=100, floor=0.75, maximum_empty=0.02)
    )
    assert judgement.outcome is outcome
    assert judgement.evidence["empty"] == empty


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"limit": 6.0}, "--limit 6"),
        ({"chat_template": False}, "chat template"),
        ({"harness": "local-chat-completions"}, "local-chat-completions"),
        ({"task": "shapes"}, "the result is of shapes"),
        ({"metric": "acc,none"}, "acc,none"),
        ({"max_images": 0}, "6 items have more than max_images=0"),
        ({"items": evaluation(3, 5).items}, "5 items were evaluated"),
        ({"items": (*evaluation(3, 5).items,
                    replace(evaluation(3, 6).items[5], score=0.5))}, "neither right nor wrong"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_another_measurement_is_invalid(change: dict[str, Any], reason: str, limit: float) -> None:
    judgement = judge_accuracy(evaluation(3, 6, **change), floor(floor=limit))
    assert judgement.outcome is Outcome.INVALID
    assert reason in judgement.sentence


def test_false_alarms_and_planted_loss_in_simulation() -> None:
    generator = random.Random(13)
    limit = floor(floor=0.9, items=300)

    def outcomes(share: float) -> list[Outcome]:
        found = []
        for _ in range(400):
            right = sum(generator.random() < share for _ in range(300))
            found.append(judge_accuracy(evaluation(right, 300), limit).outcome)
        return found

    # At the floor itself: 5 % false alarms at most, 4 standard errors of slack.
    assert outcomes(0.9).count(Outcome.FAIL) <= 400 * 0.05 + 4 * (400 * 0.05 * 0.95) ** 0.5
    assert outcomes(0.82).count(Outcome.FAIL) >= 0.95 * 400
