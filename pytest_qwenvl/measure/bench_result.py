"""What ``vllm bench serve`` left: one row a request, read strictly.

The client's own percentiles are over successes only, and 0 when nothing succeeded, so nothing is
judged by them: the rows are, and the percentiles only serve to check that the rows are the same
measurement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.columns import (
    column,
    concurrency,
    is_count,
    is_duration,
    is_gaps,
    is_number,
    is_text,
    numbers,
    rate,
    total,
)
from pytest_qwenvl.measure.strict_json import read_object
from pytest_qwenvl.measure.surroundings import Surroundings
from pytest_qwenvl.profile_fields import LatencyMetric

PROGRAM = "vllm bench serve"
_ROW_KEYS = ("input_lens", "output_lens", "ttfts", "itls", "start_times", "errors")
_TOTALS = ("num_prompts", "completed", "duration", "request_throughput", "request_rate")


@dataclass(frozen=True)
class RequestRow:
    """One request as the client saw it; times in seconds, to the microsecond.

    Attributes:
        start: when it was sent, on the client's monotonic clock.
        ttft: from sending to the first chunk with choices; 0 for a request that never got one.
        e2el: from sending to the last token; the trailing usage chunk is no token.
        longest_gap: the longest time between two of its later chunks; 0 without any.
        input_len, output_len: tokens, as the server's usage has them.
        error: what went wrong; empty for a success.
        itls: gaps between its later chunks; a report keeps only the longest.
    """

    start: float
    ttft: float
    e2el: float
    longest_gap: float
    input_len: int
    output_len: int
    error: str
    itls: tuple[float, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether it got a first token and no error."""
        return self.ttft > 0 and not self.error

    @property
    def tpot(self) -> float | None:
        """Seconds per output token after the first; None with fewer than two tokens."""
        if self.output_len < 2:
            return None
        return (self.e2el - self.ttft) / (self.output_len - 1)


@dataclass(frozen=True)
class LoadResult:
    """A load that was made, whole.

    Attributes:
        path: the result file.
        failed: requests that failed; None where an old client does not count them.
        duration: seconds from the first request's turn to the last answer.
        request_rate: requests per second that were asked for; infinity for all at once.
        max_concurrency: the client's limit; anything but None delays sending.
        client_times: whether the client reports each request's latency itself (0.32 does); where
            not, its end-to-end percentiles include the trailing usage chunk.
        queue_times: seconds each request waited in the client before it was sent; empty where the
            client does not say.
        reported: every number at the top level of the file, by its own key.
        workload: its name in the profile; empty for a file read alone, like the next three.
        hardware: generation of the devices, as the inventory names it.
        npus: how many the server had.
        seed: of prompts, pictures and arrival times; None where nobody said.
        surroundings: what engine and host counted meanwhile; None for a file read alone.
    """

    path: Path
    num_prompts: int
    completed: int
    failed: int | None
    duration: float
    request_throughput: float
    request_rate: float
    max_concurrency: float | None
    rows: tuple[RequestRow, ...]
    client_times: bool
    queue_times: tuple[float, ...]
    reported: Mapping[str, float]
    workload: str = ""
    hardware: str = ""
    npus: int | None = None
    seed: int | None = None
    surroundings: Surroundings | None = None

    @property
    def sending_rate(self) -> float | None:
        """Requests sent per second; None where fewer than two were sent.

        The client spreads n requests over n/rate seconds counted from before the first, so n over
        the span between the first and the last sending is at least the rate when it keeps up.
        """
        starts = [row.start for row in self.rows]
        if len(starts) < 2 or max(starts) <= min(starts):
            return None
        return len(starts) / (max(starts) - min(starts))

    def values_ms(self, metric: LatencyMetric) -> list[float]:
        """The metric in milliseconds: one value a request, for ``itl`` one value a gap.

        Raises:
            MeasurementError: TPOT of a request with fewer than two tokens.
        """
        if metric == "itl":
            return [gap * 1000 for row in self.rows for gap in row.itls]
        if metric == "ttft":
            return [row.ttft * 1000 for row in self.rows]
        if metric == "e2el":
            return [row.e2el * 1000 for row in self.rows]
        values = []
        for index, row in enumerate(self.rows):
            if row.tpot is None:
                raise MeasurementError(
                    f"{self.path}: TPOT of request {index} with {row.output_len} output tokens: "
                    "it takes at least two; ask for more output tokens, or judge TTFT"
                )
            values.append(row.tpot * 1000)
        return values


def read_bench(path: Path) -> LoadResult:
    """Read the result file of ``vllm bench serve --save-result --save-detailed``.

    Raises:
        MeasurementError: the file is missing, truncated or no JSON; a key is missing; a number is
            NaN, infinite or negative; the rows do not fit each other; a completed request has no
            time to its first token.
    """
    data = read_object(path, PROGRAM)
    missing = [key for key in (*_TOTALS, *_ROW_KEYS) if key not in data]
    if missing:
        raise MeasurementError(
            f"{path} lacks {', '.join(missing)}; rows are written with --save-detailed only"
        )
    inputs = column(data, "input_lens", is_count, path)
    outputs = column(data, "output_lens", is_count, path)
    ttfts = column(data, "ttfts", is_duration, path)
    itls = column(data, "itls", is_gaps, path)
    starts = column(data, "start_times", is_number, path)
    errors = column(data, "errors", is_text, path)
    lengths = {key: len(data[key]) for key in _ROW_KEYS}
    if len(set(lengths.values())) != 1:
        raise MeasurementError(f"{path}: the columns differ in length: {lengths}")
    completed = total(data, "completed", is_count, path)
    rows = tuple(
        _row(start, ttft, gaps, input_len, output_len, error)
        for start, ttft, gaps, input_len, output_len, error in zip(
            starts, ttfts, itls, inputs, outputs, errors, strict=True
        )
    )
    timed = sum(row.succeeded for row in rows)
    if timed < completed:
        raise MeasurementError(
            f"{path}: {completed} requests count as completed, but only {timed} have a time to "
            "the first token and no error"
        )
    return LoadResult(
        path=path,
        num_prompts=total(data, "num_prompts", is_count, path),
        completed=completed,
        failed=total(data, "failed", is_count, path) if "failed" in data else None,
        duration=float(total(data, "duration", is_duration, path)),
        request_throughput=float(total(data, "request_throughput", is_duration, path)),
        request_rate=rate(data["request_rate"], path),
        max_concurrency=concurrency(data.get("max_concurrency"), path),
        rows=rows,
        client_times="latencies" in data,
        queue_times=queue_times(data, "queue_times", len(rows), path),
        reported=numbers(data, path),
    )


def queue_times(
    data: Mapping[str, Any], key: str, expected: int, where: object
) -> tuple[float, ...]:
    """Seconds each request waited in the client; none where the client does not say.

    Raises:
        MeasurementError: not one for each request.
    """
    if key not in data:
        return ()
    # Small negative values are the client's two clock readings in the other order.
    times = column(data, key, is_number, where)
    if len(times) != expected:
        raise MeasurementError(f"{where}: {len(times)} {key} for {expected} requests")
    return tuple(round(value, 6) for value in times)


def _row(
    start: float, ttft: float, gaps: list[float], input_len: int, output_len: int, error: str
) -> RequestRow:
    # To the microsecond, as a report keeps them: judged again, they give the same to the digit.
    return RequestRow(
        start=round(start, 6),
        ttft=round(ttft, 6),
        e2el=round(ttft + math.fsum(gaps), 6),
        longest_gap=round(max(gaps, default=0.0), 6),
        input_len=input_len,
        output_len=output_len,
        error=error.strip(),
        itls=tuple(gaps),
    )
