"""What a profile says of speed: loads, budgets, margins and offline benches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pytest_qwenvl.profile_fields import ArgumentValue, Identifier, LatencyMetric, Model, Source


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
        host_others: share (0 to 1) of this host's processor time, had by other processes or the
            hypervisor, from which on a drift is put down to the host.
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
    host_others: float = Field(default=0.1, gt=0, lt=1)
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
