"""What the engine and the host counted while a load was made: the client cannot see it.

Caches that were warm, requests of somebody else and a busy host change latency without a trace in
the client's own numbers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_qwenvl.protocol.prometheus import Metrics

_COUNTERS = {
    "requests": "vllm:request_success_total",
    "prompt_tokens": "vllm:prompt_tokens_total",
    "generation_tokens": "vllm:generation_tokens_total",
    "prefix_cache_queries": "vllm:prefix_cache_queries_total",
    "prefix_cache_hits": "vllm:prefix_cache_hits_total",
    "mm_cache_queries": "vllm:mm_cache_queries_total",
    "mm_cache_hits": "vllm:mm_cache_hits_total",
    "preemptions": "vllm:num_preemptions_total",
    "ttft_seconds": "vllm:time_to_first_token_seconds_sum",
    "first_tokens": "vllm:time_to_first_token_seconds_count",
    "e2el_seconds": "vllm:e2e_request_latency_seconds_sum",
    "queue_seconds": "vllm:request_queue_time_seconds_sum",
    "prefill_seconds": "vllm:request_prefill_time_seconds_sum",
    "decode_seconds": "vllm:request_decode_time_seconds_sum",
}
_STAT = Path("/proc/stat")
_RUNNING = re.compile(r"^procs_running (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Surroundings:
    """The engine's counters over a load, and the host's.

    Attributes:
        engine: by how much each counter rose, by our names (tokens, pictures, requests, seconds);
            one that the engine does not have is left out. None where they could not be read.
        unreadable: why ``engine`` is None.
        host_running: tasks for each CPU of this host that ran or waited to run, on average over
            the load; above 1 some had to wait. None where the kernel does not say.
        host_others: share (0 to 1) of this host's processor time that processes had which are
            neither the engine nor the client. None where that is not known: the engine is
            somebody else's, or in a container.
        host_stolen: share that the hypervisor gave to other guests, likewise.
    """

    engine: Mapping[str, float] | None
    unreadable: str = ""
    host_running: float | None = None
    host_others: float | None = None
    host_stolen: float | None = None

    def cached(self, cache: str) -> float | None:
        """Share of what a cache (``prefix_cache``, ``mm_cache``) was asked for that it had.

        0 for a cache that was not asked; None where the engine has no such counters.
        """
        queries = (self.engine or {}).get(f"{cache}_queries")
        hits = (self.engine or {}).get(f"{cache}_hits")
        if queries is None or hits is None:
            return None
        return hits / queries if queries else 0.0


def counted(metrics: Metrics, model: str) -> dict[str, float]:
    """The engine's counters for a model now, by our names."""
    found = {ours: metrics.total(name, model_name=model) for ours, name in _COUNTERS.items()}
    return {name: value for name, value in found.items() if value is not None}


def between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """By how much counters rose; one that appeared meanwhile began at 0."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def running_tasks(path: Path = _STAT) -> float | None:
    """Tasks for each CPU of this host that run or wait to run now; None where unknown."""
    try:
        match = _RUNNING.search(path.read_text())
    except OSError:
        return None
    return int(match[1]) / (os.cpu_count() or 1) if match else None
