"""What ``vllm bench serve`` left: one row a request, read strictly.

The client's own percentiles are over successes only, and 0 when nothing succeeded, so nothing is
judged by them: the rows are, and the percentiles only serve to check that the rows are the same
measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.strict_json import read_object
from pytest_qwenvl.profile import LatencyMetric

PROGRAM = "vllm bench serve"
_ROW_KEYS = ("input_lens", "output_lens", "ttfts", "itls", "start_times", "errors")
_TOTALS = ("num_prompts", "completed", "duration", "request_throughput", "request_rate")


@dataclass(frozen=True)
class RequestRow:
    """One request as the client saw it; times in seconds.

    Attributes:
        start: when it was sent, on the client's monotonic clock.
        ttft: from sending to the first chunk with choices; 0 for a request that never got one.
        itls: gaps between its later chunks.
        input_len, output_len: tokens, as the server's usage has them.
        error: what went wrong; empty for a success.
    """

    start: float
    ttft: float
    itls: tuple[float, ...]
    input_len: int
    output_len: int
    error: str

    @property
    def succeeded(self) -> bool:
        """Whether it got a first token and no error."""
        return self.ttft > 0 and not self.error

    @property
    def e2el(self) -> float:
        """Seconds from sending to the last token; the trailing usage chunk is no token."""
        return self.ttft + math.fsum(self.itls)

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


def _is_number(value: Any) -> bool:
    # json.loads turns 1e999 into infinity without telling, so parse_constant alone does not do.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_duration(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_gaps(value: Any) -> bool:
    return isinstance(value, list) and all(_is_duration(gap) for gap in value)


def _column(
    data: Mapping[str, Any], key: str, accepts: Callable[[Any], bool], wanted: str, path: Path
) -> list[Any]:
    column = data[key]
    if not isinstance(column, list):
        raise MeasurementError(f"{path}: {key} is a {type(column).__name__}, not a list")
    for index, value in enumerate(column):
        if not accepts(value):
            raise MeasurementError(
                f"{path}: {key}[{index}] is {repr(value)[:80]}; expected {wanted}"
            )
    return column


def _total(data: Mapping[str, Any], key: str, accepts: Callable[[Any], bool], path: Path) -> Any:
    if not accepts(data[key]):
        raise MeasurementError(f"{path}: {key} is {data[key]!r}, which is no such measurement")
    return data[key]


def read_bench(path: Path) -> LoadResult:
    """Read the result file of ``vllm bench serve --save-result --save-detailed``.

    Raises:
        MeasurementError: the file is missing, truncated or no JSON; a key is missing; a number is
            NaN, infinite or negative; the rows do not fit each other; nothing completed, or a
            completed request has no time to its first token.
    """
    data = read_object(path, PROGRAM)
    missing = [key for key in (*_TOTALS, *_ROW_KEYS) if key not in data]
    if missing:
        raise MeasurementError(
            f"{path} lacks {', '.join(missing)}; rows are written with --save-detailed only"
        )
    count = "a whole number, 0 or more"
    inputs = _column(data, "input_lens", _is_count, count, path)
    outputs = _column(data, "output_lens", _is_count, count, path)
    ttfts = _column(data, "ttfts", _is_duration, "seconds, 0 or more", path)
    itls = _column(data, "itls", _is_gaps, "a list of seconds, 0 or more", path)
    starts = _column(data, "start_times", _is_number, "seconds", path)
    errors = _column(data, "errors", lambda value: isinstance(value, str), "text", path)
    lengths = {key: len(data[key]) for key in _ROW_KEYS}
    if len(set(lengths.values())) != 1:
        raise MeasurementError(f"{path}: the columns differ in length: {lengths}")
    completed = _total(data, "completed", _is_count, path)
    if completed == 0:
        first = next((error.strip() for error in errors if error.strip()), "no error text")
        raise MeasurementError(
            f"{path}: none of {len(errors)} requests completed, so there is no latency to judge; "
            f"first error: {first.splitlines()[-1][:300]}"
        )
    rows = tuple(
        RequestRow(start, ttft, tuple(gaps), input_len, output_len, error.strip())
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
        num_prompts=_total(data, "num_prompts", _is_count, path),
        completed=completed,
        failed=_total(data, "failed", _is_count, path) if "failed" in data else None,
        duration=float(_total(data, "duration", _is_duration, path)),
        request_throughput=float(_total(data, "request_throughput", _is_duration, path)),
        request_rate=_rate(data["request_rate"], path),
        max_concurrency=_concurrency(data.get("max_concurrency"), path),
        rows=rows,
        client_times="latencies" in data,
        queue_times=tuple(_queue_times(data, len(rows), path)),
        reported=_numbers(data, path),
    )


def _rate(value: Any, path: Path) -> float:
    if value == "inf":
        return math.inf
    if not (_is_number(value) and value > 0):
        raise MeasurementError(f"{path}: request_rate is {value!r}; expected a number above 0")
    return float(value)


def _concurrency(value: Any, path: Path) -> float | None:
    if value is not None and not _is_number(value):
        raise MeasurementError(f"{path}: max_concurrency is {value!r}; expected a number or null")
    return None if value is None else float(value)


def _queue_times(data: Mapping[str, Any], expected: int, path: Path) -> list[float]:
    if "queue_times" not in data:
        return []
    # Small negative values are the client's two clock readings in the other order.
    times = _column(data, "queue_times", _is_number, "seconds", path)
    if len(times) != expected:
        raise MeasurementError(f"{path}: {len(times)} queue_times for {expected} requests")
    return times


def _numbers(data: Mapping[str, Any], path: Path) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for key, value in data.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise MeasurementError(f"{path}: {key} is {value}, which is no measurement")
            numbers[key] = float(value)
    return numbers
