"""What a profile says of right answers: floors, margins and the bank's questions."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

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
    """The loss against a baseline that is still acceptable, as a share of all items (0 to 1).

    Attributes:
        worse_confidence: of the proof that a run is worse; the floor's where it is not given. A
            lower one proves smaller losses and calls a run worse that is as good more often, which
            is for the owner of a profile to choose: `docs/judging.md` has the figures. That a loss
            of the margin is ruled out is proven at the floor's confidence in any case.
    """

    value: float = Field(gt=0, lt=1)
    worse_confidence: float | None = Field(default=None, gt=0.5, lt=1)
    source: Source


OFFLINE_HARNESS: Final = "vllm-vlm"
"""lm-eval loads the model itself, on the devices of an offline deployment."""
SERVED_HARNESS: Final = "local-chat-completions"
"""lm-eval asks a served deployment, over ``/v1/chat/completions``."""
MODE_OF_HARNESS: Final = {OFFLINE_HARNESS: "offline", SERVED_HARNESS: "serve"}

# What the suite says itself of the server: whom to ask, for what, with which key, and how often.
_NOT_A_PROFILES = (
    "model", "pretrained", "base_url", "header", "auth_token", "max_images", "max_retries",
    "tokenizer", "tokenizer_backend", "tokenized_requests",
)  # fmt: skip


class AccuracyFloor(Model):
    """An evaluation task and the score below which the model is broken.

    A floor is of one harness. The same task asked by another one is other words in another order
    (lm-eval puts a served model's pictures before its text and leaves ``<image>`` in it), so it has
    a floor of its own.

    Attributes:
        task: the lm-eval task.
        harness: how lm-eval reaches the model: ``vllm-vlm`` or ``local-chat-completions``.
        task_directory: folder with the task's definition (``--include_path``), relative to the
            profile file; ``task_data`` is the script in it that writes the task's data.
        deployment: an offline one, whose devices the evaluation uses, for ``vllm-vlm``; a served
            one, whose server is asked, for ``local-chat-completions``.
        metric: lm-eval's key, e.g. ``acc,none``.
        items: how many items a full evaluation has; any other number is not judged.
        floor: smallest acceptable score (0 to 1).
        confidence: of the one-sided exact test that the score lies below the floor.
        calibrated: whether the floor comes from repeated runs of this very harness.
        maximum_empty: share (0 to 1) of empty answers above which the score means nothing.
        answers: the same for answers that cannot be read or were cut off; None looks at neither.
        margin: how much worse than a baseline (``--baseline``) is still no worse; without it a
            run can be proven worse, and never proven not worse.
        model_arguments: lm-eval's ``--model_args`` beside those that the suite makes: the
            engine's for ``vllm-vlm``, such as ``num_concurrent`` for ``local-chat-completions``.
        batch_size: of ``vllm-vlm`` alone; a chat request holds one conversation.
    """

    task: str
    harness: Literal["vllm-vlm", "local-chat-completions"] = OFFLINE_HARNESS
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

    @model_validator(mode="after")
    def _arguments_fit_the_harness(self) -> AccuracyFloor:
        if self.harness != SERVED_HARNESS:
            return self
        given = sorted(set(_NOT_A_PROFILES) & self.model_arguments.keys())
        if given:
            raise ValueError(
                f"model_arguments of {SERVED_HARNESS}: {', '.join(given)}: the suite says itself "
                "which server is asked, and how; leave them out"
            )
        if self.batch_size != "auto":
            raise ValueError(
                f"batch_size is not for {SERVED_HARNESS}: a chat request holds one conversation; "
                "set num_concurrent in model_arguments"
            )
        return self


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
