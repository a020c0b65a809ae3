"""What the suite knows of one model: the strict schema of a profile file.

A profile is data. An unknown or misspelt key, or a value of the wrong type, is an error that
names the file, the key and the nearest valid one (see :mod:`pytest_qwenvl.profile_loading`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    model_validator,
)

from pytest_qwenvl.devices.choosing import Exclusive
from pytest_qwenvl.version_binding import check_argument, check_variable

Scalar = str | int | float | bool
ArgumentValue = Scalar | dict[str, object] | list[object] | None
# What a profile has in their place may be bound to versions: see version_binding.
BoundArgument = Annotated[ArgumentValue, AfterValidator(check_argument)]
BoundVariable = Annotated[str | dict[str, object] | list[object], PlainValidator(check_variable)]
BackendName = Literal["npu", "cpu"]
Mode = Literal["offline", "serve"]
Family = Literal["qwen2.5-vl", "qwen3-vl"]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.\-]*$")]
Source = Annotated[str, StringConstraints(min_length=8)]
LatencyMetric = Literal["ttft", "tpot", "itl", "e2el"]
Capability = Literal[
    "auto_tools",
    "completions",
    "detokenize",
    "json_schema",
    "load",
    "logprobs",
    "metrics",
    "mm_processor_kwargs",
    "openapi",
    "ping",
    "responses",
    "sleep",
    "tokenize",
    "tools",
    "version",
    "video",
]


class Model(BaseModel):
    """Base of every table in a profile: frozen, strict, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Weights(Model):
    """Where a model's weights come from.

    ``path`` is only for weights that travel with the suite (the reference checkpoints); it is
    relative to the profile file.
    """

    huggingface: str | None = None
    modelscope: str | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _has_a_place(self) -> Weights:
        if not (self.huggingface or self.modelscope or self.path):
            raise ValueError("needs at least one of huggingface, modelscope, path")
        return self


class ImageConstants(Model):
    """The constants of a family's image processor, from which prompt tokens are predicted.

    Attributes:
        patch_size: side of one vision patch (pixels).
        merge_size: patches merged per side into one token.
        min_pixels, max_pixels: bounds of the resized area (pixels).
        tutorial_text_tokens: prompt tokens of the tutorial's chat request beside those of the
            image itself, vision start and end included.
    """

    patch_size: int = Field(gt=0)
    merge_size: int = Field(gt=0)
    min_pixels: int = Field(gt=0)
    max_pixels: int = Field(gt=0)
    tutorial_text_tokens: int = Field(gt=0)
    source: Source


class Engine(Model):
    """Engine arguments and environment that hold for every deployment on one backend.

    ``arguments`` are vLLM's own names with underscores, as ``EngineArgs`` has them;
    ``preload`` lists shared objects of which those that exist go into ``LD_PRELOAD``. Values may
    be bound to versions (:mod:`pytest_qwenvl.version_binding`).
    """

    arguments: dict[str, BoundArgument] = Field(default_factory=dict)
    environment: dict[str, BoundVariable] = Field(default_factory=dict)
    preload: list[str] = Field(default_factory=list)


class Deployment(Model):
    """One way to run a model: mode, device count, engine arguments, environment.

    Arguments and variables win over those of :class:`Engine` and may be bound to versions too.

    Attributes:
        images: the limit of images in one prompt (``limit_mm_per_prompt``).
        capabilities: what the server is declared to have or to lack, by the names of
            :data:`pytest_qwenvl.capabilities.PROBES`; what is not declared is asked of it.
        estimated_seconds: how long its tests are expected to take, start-up included; only
            used to order the work.
        start_timeout: seconds after which an engine that is not ready counts as hung.
        exclusive: what nobody else may use while it runs: its devices, their whole cards, or every
            device of the host. What stays empty counts against ``--npus``. For latency, which
            suffers from neighbours.
    """

    name: Identifier
    mode: Mode
    npus: int = Field(ge=1)
    images: int = Field(ge=0)
    videos: int = Field(default=0, ge=0)
    capabilities: dict[Capability, bool] = Field(default_factory=dict)
    arguments: dict[str, BoundArgument] = Field(default_factory=dict)
    environment: dict[str, BoundVariable] = Field(default_factory=dict)
    estimated_seconds: float = Field(default=600.0, gt=0)
    start_timeout: float = Field(default=2800.0, gt=0)
    exclusive: Exclusive = "devices"
    why: str = ""


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


class LatencyBudget(Model):
    """A limit on one percentile of one metric under a workload.

    Attributes:
        hardware: generation the budget holds for, as the inventory names it (``cpu``, ``a2`` …).
        npus: device count the budget holds for.
        percentile: e.g. 99 (of requests).
        budget_ms: milliseconds.
        confidence: of the one-sided exact binomial test.
        vouched: False for a number nobody answers for: reported, not gated.
    """

    hardware: str
    npus: int = Field(ge=1)
    metric: LatencyMetric
    percentile: float = Field(gt=0, lt=100)
    budget_ms: float = Field(gt=0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    vouched: bool = True
    source: Source


class LatencyMargin(Model):
    """How much slower than a baseline is still no slower.

    Attributes:
        value: as a share of the baseline's latency: 0.1 for ten per cent.
        confidence: with which a run is called slower, or no slower, over all its comparisons.
        host_running: largest difference between the tasks that ran or waited to run on the two
            runs' hosts, as a share (0 to 1) of the larger number, or of one task for each CPU;
            above it the hosts were not alike.
        host_busy: most of such tasks for each CPU; above it a run says more of the host than of
            the server.
    """

    value: float = Field(gt=0, lt=10)
    confidence: float = Field(default=0.99, gt=0.5, lt=1)
    host_running: float = Field(default=0.25, gt=0, le=1)
    host_busy: float = Field(default=2.0, gt=0)
    source: Source


class LatencyWorkload(Model):
    """A load that ``vllm bench serve`` makes against a served deployment, and its budgets.

    One budget gates: of those for the same hardware and device count only one is ``vouched``, so
    that the confidence it states is the confidence of the gate.

    Attributes:
        request_rate: requests per second, sent whether or not earlier ones are answered.
        arguments: options of ``vllm bench serve`` by their own names with underscores.
        warm_ups: requests before the measured ones, for each size of picture.
        minimum_rate_achieved: share of the rate (0 to 1) below which the load was another one.
        maximum_cached: share of prompt tokens, and of pictures, that the engine may have taken
            from its caches; the rest of a template that all prompts share fits below it.
        client_overhead: how late the client may send, as a share of the gating budget.
        trend_level: chance (0 to 1) that a steady load is taken for one that drifts.
        maximum_drift: how much the median may change between the halves of the load, as a share
            of the smaller, before a proven trend makes it invalid.
        margin: for comparing with a baseline; without it a run can be proven slower, and never
            proven no slower.
    """

    name: Identifier
    deployment: str
    num_prompts: int = Field(gt=0)
    request_rate: float = Field(gt=0)
    output_tokens: int = Field(gt=0)
    images_per_request: int = Field(default=0, ge=0)
    arguments: dict[str, ArgumentValue] = Field(default_factory=dict)
    warm_ups: int = Field(default=5, ge=0)
    minimum_rate_achieved: float = Field(default=0.95, gt=0, le=1)
    maximum_cached: float = Field(default=0.02, ge=0, le=1)
    client_overhead: float = Field(default=0.05, gt=0, le=1)
    trend_level: float = Field(default=0.001, gt=0, lt=0.5)
    maximum_drift: float = Field(default=0.25, gt=0)
    timeout: float = Field(default=3600.0, gt=0)
    margin: LatencyMargin | None = None
    budgets: list[LatencyBudget] = Field(default_factory=list)
    source: Source

    @model_validator(mode="after")
    def _one_budget_gates(self) -> LatencyWorkload:
        gating = [(its.hardware, its.npus) for its in self.budgets if its.vouched]
        for hardware, npus in gating:
            if gating.count((hardware, npus)) > 1:
                raise ValueError(
                    f"workload {self.name!r} has {gating.count((hardware, npus))} budgets for "
                    f"{hardware} with {npus} devices that gate; one may, or their error adds up: "
                    "declare the others with vouched = false, or in a workload of their own"
                )
        return self


class OfflineBench(Model):
    """A measurement of ``vllm bench`` with an LLM of its own: reported, never gated.

    Attributes:
        program: ``latency``, the time of one batch, or ``throughput``, of many requests at once.
        deployment: the offline deployment whose devices and engine arguments it uses.
        arguments: options of ``vllm bench latency`` or ``throughput`` by their own names with
            underscores.
    """

    program: Literal["latency", "throughput"]
    deployment: str
    arguments: dict[str, ArgumentValue] = Field(default_factory=dict)
    timeout: float = Field(default=3600.0, gt=0)
    source: Source


class ModelProfile(Model):
    """Everything the suite knows of one model.

    Attributes:
        path: the file that defines it; relative paths in it start there.
        sources: every file it was read from, what it extends first and overlays last.
    """

    schema_version: Literal[1]
    name: Identifier
    title: str
    family: Family
    reference: bool = False
    quantization: str | None = None
    weights: Weights
    image: ImageConstants
    engine: dict[BackendName, Engine] = Field(default_factory=dict)
    understanding: Understanding
    deployments: list[Deployment] = Field(min_length=1)
    accuracy: list[AccuracyFloor] = Field(default_factory=list)
    latency: list[LatencyWorkload] = Field(default_factory=list)
    offline_bench: list[OfflineBench] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    path: Path = Field(default=Path(), exclude=True)
    sources: tuple[Path, ...] = Field(default=(), exclude=True)

    @model_validator(mode="after")
    def _names_are_consistent(self) -> ModelProfile:
        names = [deployment.name for deployment in self.deployments]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"deployment names must differ; repeated: {', '.join(repeated)}")
        users = [("accuracy", a.task, a.deployment, "offline") for a in self.accuracy]
        users += [("latency", w.name, w.deployment, "serve") for w in self.latency]
        users += [("offline_bench", b.program, b.deployment, "offline") for b in self.offline_bench]
        modes = {deployment.name: deployment.mode for deployment in self.deployments}
        for table, user, deployment, mode in users:
            if modes.get(deployment) != mode:
                known = ", ".join(name for name, its in modes.items() if its == mode) or "none"
                raise ValueError(
                    f"{table} {user!r} names {deployment!r}, which is no deployment of mode "
                    f"{mode!r}; there are: {known}"
                )
        return self

    def deployment(self, name: str) -> Deployment:
        """The deployment called ``name``; raises KeyError for a name the profile lacks."""
        for deployment in self.deployments:
            if deployment.name == name:
                return deployment
        raise KeyError(name)
