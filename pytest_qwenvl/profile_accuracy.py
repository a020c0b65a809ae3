"""What a profile says of right answers: floors, margins and the bank's questions."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pytest_qwenvl.profile_fields import Model, Scalar, Source


class Reference(Model):
    """A published or measured value with its source; shown beside a score, never a floor."""

    value: float
    harness: str
    source: Source


class AnswerLimits(Model):
    """Shares of answers (0 to 1) above which a score says nothing of the model.

    Attributes:
        pattern: regular expression, searched for, of an answer the task can read; lm-eval guesses
            at random where it cannot. None for a task that reads every answer.
        unparseable: largest acceptable share of answers without it.
        cut_off: largest acceptable share of answers that ended at the token limit.
    """

    pattern: str | None = None
    unparseable: float = Field(default=0.0, ge=0, le=1)
    cut_off: float = Field(ge=0, le=1)
    source: Source

    @model_validator(mode="after")
    def _pattern_is_one(self) -> AnswerLimits:
        try:
            re.compile(self.pattern or "")
        except re.error as problem:
            raise ValueError(f"pattern {self.pattern!r} is no regular expression: {problem}") from (
                problem
            )
        if self.pattern is None and self.unparseable:
            raise ValueError("unparseable needs the pattern of an answer that can be read")
        return self


class Margin(Model):
    """The loss against a baseline that is still acceptable, as a share of all items (0 to 1)."""

    value: float = Field(gt=0, lt=1)
    source: Source


class AccuracyFloor(Model):
    """An evaluation task and the score below which the model is broken.

    Attributes:
        task: the lm-eval task.
        task_directory: folder with the task's definition (``--include_path``), relative to the
            profile file; ``task_data`` is the script in it that writes the task's data.
        deployment: the offline deployment whose devices the evaluation uses.
        metric: lm-eval's key, e.g. ``acc,none``.
        items: how many items a full evaluation has; any other number is not judged.
        floor: smallest acceptable score (0 to 1).
        confidence: of the one-sided exact test that the score lies below the floor.
        calibrated: whether the floor comes from repeated runs of this very harness.
        maximum_empty: share (0 to 1) of empty answers above which the score means nothing.
        answers: the same for answers that cannot be read or were cut off; None looks at neither.
        margin: how much worse than a baseline (``--baseline``) is still no worse; without it a
            run can be proven worse, and never proven not worse.
    """

    task: str
    harness: Literal["vllm-vlm"] = "vllm-vlm"
    task_directory: str | None = None
    task_data: str | None = None
    deployment: str
    metric: str
    items: int = Field(gt=0)
    floor: float = Field(ge=0, le=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    calibrated: bool = False
    maximum_empty: float = Field(default=0.02, ge=0, le=1)
    answers: AnswerLimits | None = None
    margin: Margin | None = None
    model_arguments: dict[str, Scalar] = Field(default_factory=dict)
    batch_size: int | Literal["auto"] = "auto"
    timeout: float = Field(default=7200.0, gt=0)
    source: Source
    references: list[Reference] = Field(default_factory=list)


class Understanding(Model):
    """How many of the bank's questions a deployment must answer right.

    Attributes:
        items: questions asked of each ability.
        floors: by ability, the smallest acceptable share (0 to 1) of right answers.
        agreement: smallest acceptable share (0 to 1) of equal answers, word for word, where the
            same question is put to two engines of the model one by one.
    """

    items: int = Field(gt=0)
    agreement: float = Field(gt=0, le=1)
    floors: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1)
    source: Source
