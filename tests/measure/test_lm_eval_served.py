"""lm-eval over chat completions: its command line, and its files read strictly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.accuracy import judge_accuracy, read_lm_eval
from pytest_qwenvl.measure.accuracy_evidence import as_evidence, evaluation_from
from pytest_qwenvl.measure.finish_reasons import (
    FINISH_REASONS,
    failed_requests,
    with_finish_reasons,
)
from pytest_qwenvl.measure.lm_eval_command import lm_eval_arguments, served_arguments
from pytest_qwenvl.measure.lm_eval_result import Evaluation
from pytest_qwenvl.profile import ModelProfile
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from pytest_qwenvl.report.results import Outcome
from tests.measure.evaluations import floor

RECORDED = Path(__file__).parent / "samples" / "lm-eval-served"
PROFILE = ModelProfile.model_construct(name="qwen3-vl-8b")  # only its name is read
SERVED: dict[str, Any] = {"harness": "local-chat-completions", "deployment": "serve-1npu"}


def recorded() -> Evaluation:
    return read_lm_eval(RECORDED, "qwenvl_bank", "acc,none")


def recorded_floor(**kwargs: Any) -> AccuracyFloor:
    return floor(task="qwenvl_bank", metric="acc,none", items=8, floor=0.3, **SERVED | kwargs)


def test_command_line() -> None:
    arguments = served_arguments(
        PROFILE,
        floor(**SERVED, model_arguments={"num_concurrent": 3, "max_gen_toks": 64}),
        base_url="http://127.0.0.1:8000/prefix",
        model="Qwen/Qwen3-VL-8B-Instruct",
        output_path=Path("results"),
        include_path=Path("tasks"),
        max_images=4,
    )
    at = arguments.index("--model_args") + 1
    assert json.loads(arguments[at]) == {
        "num_concurrent": 3,
        "max_gen_toks": 64,
        "model": "Qwen/Qwen3-VL-8B-Instruct",
        "base_url": "http://127.0.0.1:8000/prefix/v1/chat/completions",
        "tokenizer_backend": "none",
        "max_images": 4,
        "max_retries": 1,
    }
    assert arguments[:at] + arguments[at + 1 :] == [
        "--model", "local-chat-completions", "--model_args",
        "--tasks", "colours", "--batch_size", "1", "--include_path", "tasks",
        "--apply_chat_template", "--output_path", "results", "--log_samples",
    ]  # fmt: skip


def test_each_harness_makes_its_own_command_only() -> None:
    with pytest.raises(ValueError, match="the floor is of vllm-vlm"):
        served_arguments(
            PROFILE, floor(), base_url="http://h", model="m", output_path=Path("o"), max_images=1
        )
    with pytest.raises(ValueError, match="the floor is of local-chat-completions"):
        lm_eval_arguments(PROFILE, floor(**SERVED), weights="w", output_path=Path("o"))


@pytest.mark.parametrize("name", ["base_url", "header", "auth_token", "max_retries", "max_images"])
def test_what_a_profile_cannot_say(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name}: the suite says itself"):
        floor(**SERVED, model_arguments={name: "x"})
    assert floor(model_arguments={name: "x"}).model_arguments == {name: "x"}


def test_batches_are_of_the_other_harness() -> None:
    with pytest.raises(ValidationError, match="batch_size is not for local-chat-completions"):
        floor(**SERVED, batch_size=32)


def test_recorded_evaluation() -> None:
    read = recorded()
    assert (read.harness, read.n, read.score) == ("local-chat-completions", 8, 1.0)
    assert (read.chat_template, read.max_images, read.limit) == (True, 4, None)
    assert [len(it.image_digests) for it in read.items] == [1, 1, 1, 3, 1, 1, 1, 1]
    assert len({it.prompt_digest for it in read.items}) == 8
    whole = with_finish_reasons(read, RECORDED / FINISH_REASONS)
    assert [it.finish_reason for it in whole.items] == ["stop"] * 8
    assert judge_accuracy(whole, recorded_floor()).outcome is Outcome.PASS


@pytest.mark.parametrize("harness", ["vllm-vlm", "local-chat-completions"])
def test_a_floor_is_of_one_harness(harness: str) -> None:
    judgement = judge_accuracy(recorded(), recorded_floor(harness=harness))
    mixed = harness == "vllm-vlm"
    assert judgement.outcome is (Outcome.INVALID if mixed else Outcome.PASS)
    assert (
        "lm-eval ran local-chat-completions, the floor is of vllm-vlm" in judgement.sentence
    ) is mixed


def test_what_a_report_keeps_names_its_harness() -> None:
    kept = as_evidence(recorded())
    assert (kept["kind"], kept["name"]) == ("served-evaluation", "qwenvl_bank")
    assert evaluation_from(kept) == recorded()
    with pytest.raises(MeasurementError, match="lm-eval ran local-chat-completions"):
        evaluation_from({**kept, "kind": "evaluation"})
    with pytest.raises(MeasurementError, match="lm-eval ran vllm-vlm"):
        evaluation_from({**kept, "harness": "vllm-vlm"})


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(RECORDED, tmp_path / "out")
    return tmp_path / "out"


def edited(directory: Path, **arguments: Any) -> Evaluation:
    (path,) = directory.rglob("results_*.json")
    data = json.loads(path.read_text())
    data["config"]["model_args"].update(arguments)
    data["config"]["model_args"] = {
        name: it for name, it in data["config"]["model_args"].items() if it is not None
    }
    path.write_text(json.dumps(data))
    return read_lm_eval(directory, "qwenvl_bank", "acc,none")


@pytest.mark.parametrize("most", [None, 1, 2, 3])
def test_pictures_that_lm_eval_dropped_make_it_invalid(copy: Path, most: int | None) -> None:
    """Without being told, lm-eval sends one picture of each question."""
    judgement = judge_accuracy(edited(copy, max_images=most), recorded_floor())
    dropped = f"1 items have more than max_images={most or 1} images"
    assert (dropped in judgement.sentence) is (most != 3)
    assert judgement.outcome is (Outcome.PASS if most == 3 else Outcome.INVALID)


def test_a_prompt_that_is_no_conversation(copy: Path) -> None:
    (path,) = copy.rglob("samples_*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[2]["arguments"]["gen_args_0"]["arg_0"] = "Which colour?"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(MeasurementError, match="line 3: the prompt is no conversation"):
        read_lm_eval(copy, "qwenvl_bank", "acc,none")


def test_requests_that_failed_are_told_from_answers(tmp_path: Path) -> None:
    reasons = tmp_path / FINISH_REASONS
    lines = (RECORDED / FINISH_REASONS).read_text()
    reasons.write_text(lines)
    assert failed_requests(reasons) == []
    reasons.write_text(lines + '{"prompt_digest": "a", "error": "HTTP 500"}\n{"prompt_dig')
    assert failed_requests(reasons) == ["HTTP 500"]
    assert failed_requests(tmp_path / "nothing") == []
