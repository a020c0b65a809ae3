"""What a profile says of long runs: the mix of requests, and how much may change over an hour."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pytest_qwenvl.profile_fields import Model, Source

RequestKind = Literal["text", "image", "images", "stream", "disconnect", "too_many", "malformed"]
"""``images``: two or more; ``stream``: read to its end; ``disconnect``: a stream that the client
leaves; ``too_many``: more pictures than the deployment allows; ``malformed``: no valid request."""

Size = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]


class Tolerated(Model):
    """Growth of one quantity that is too little to matter.

    Attributes:
        hourly: units an hour: MiB of memory, a count of descriptors, of latency a share.
        least: units over the judged time below which nothing is called growth.
    """

    hourly: float = Field(gt=0)
    least: float = Field(ge=0)
    source: Source


class SoakLoad(Model):
    """The load of ``--soak`` and what its watching is held against.

    Attributes:
        request_rate: requests per second, sent whether or not earlier ones are answered.
        most_at_once: requests that may be under way; what would be one more is not sent.
        minimum_sent: share of the requests (0 to 1) below which the load was another one.
        mix: weight of each kind of request.
        sizes: width and height of pictures (pixels).
        fresh_pictures: whether every picture is new; for engines without a cache of pictures,
            whose growth would be taken for a leak until it is full.
        watch_interval, probe_interval: seconds between looks, and between probes.
        request_timeout: seconds after which a request counts as lost.
        warm_up, warm_up_minutes: what is left out at the beginning: a share of the load, and no
            less than so many minutes.
        settle_seconds: how long requests may run on after the load's end.
        stuck_seconds: how long a request may be in the engine that no client waits for.
        agreement: share of a probe's answers that must be word for word the first.
        confidence: with which growth is called one, or ruled out, over all series of a
            requirement.
        memory, device_memory: MiB; descriptors holds for threads and sockets too.
        latency: shares of a probe's median latency.
        host_busy: most cores, as a share of all, that others may have used on average before a
            slower probe says more of the host than of the server.
    """

    seed: int = Field(default=0, ge=0)
    request_rate: float = Field(gt=0)
    most_at_once: int = Field(default=16, ge=1)
    minimum_sent: float = Field(default=0.95, gt=0, le=1)
    mix: dict[RequestKind, float] = Field(min_length=1)
    sizes: list[Size] = Field(min_length=1)
    output_tokens: int = Field(gt=0)
    fresh_pictures: bool = False
    watch_interval: float = Field(default=5.0, gt=0)
    probe_interval: float = Field(default=15.0, gt=0)
    request_timeout: float = Field(default=120.0, gt=0)
    warm_up: float = Field(default=0.25, ge=0, lt=0.9)
    warm_up_minutes: float = Field(default=5.0, ge=0)
    settle_seconds: float = Field(default=30.0, gt=0)
    stuck_seconds: float = Field(default=60.0, gt=0)
    agreement: float = Field(default=1.0, gt=0, le=1)
    confidence: float = Field(default=0.99, gt=0.5, lt=1)
    host_busy: float = Field(default=0.1, gt=0, le=1)
    memory: Tolerated
    device_memory: Tolerated
    descriptors: Tolerated
    latency: Tolerated
    source: Source

    @model_validator(mode="after")
    def _can_be_sent(self) -> SoakLoad:
        if min(self.mix.values()) < 0 or not sum(self.mix.values()) > 0:
            raise ValueError("mix: needs weights of 0 or more, and one above 0")
        return self
