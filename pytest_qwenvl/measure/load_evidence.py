"""A load as a report keeps it: every request, so that it can be judged again without running.

The report's key ``measurement`` holds it: ``kind``, ``name`` (the workload), the fields of
``LoadResult``, and ``requests``, a table by columns. Times are in seconds; ``start`` counts from
the first request. Of the gaps within an answer only the longest is kept: no gate is on them, and
all of them would be most of a report. The client's own file has them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.bench_result import LoadResult, RequestRow, queue_times
from pytest_qwenvl.measure.columns import (
    column,
    concurrency,
    is_count,
    is_duration,
    is_number,
    is_text,
    numbers,
    rate,
    total,
)
from pytest_qwenvl.measure.surroundings import Surroundings

KIND = "load"

_COLUMNS = {
    "start": is_number,
    "ttft": is_duration,
    "e2el": is_duration,
    "longest_gap": is_duration,
    "input_len": is_count,
    "output_len": is_count,
    "error": is_text,
}


def as_evidence(load: LoadResult) -> dict[str, Any]:
    """The load as JSON values; :func:`load_from` reads them back."""
    first = min((row.start for row in load.rows), default=0.0)
    requests: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in load.rows] for name in _COLUMNS
    }
    requests["start"] = [round(start - first, 6) for start in requests["start"]]
    # Told beside what it follows from, for whoever reads the file with other programs.
    requests["tpot"] = [row.tpot if row.succeeded else None for row in load.rows]
    if load.queue_times:
        requests["queued"] = list(load.queue_times)
    around = load.surroundings
    return {
        "kind": KIND,
        "name": load.workload,
        "path": str(load.path),
        "num_prompts": load.num_prompts,
        "completed": load.completed,
        "failed": load.failed,
        "duration": load.duration,
        "request_throughput": load.request_throughput,
        # JSON has no infinity; the client's own file says it the same way.
        "request_rate": "inf" if math.isinf(load.request_rate) else load.request_rate,
        "max_concurrency": load.max_concurrency,
        "client_times": load.client_times,
        "hardware": load.hardware,
        "npus": load.npus,
        "seed": load.seed,
        "reported": dict(load.reported),
        "surroundings": None if around is None else _surroundings_as_evidence(around),
        "requests": requests,
    }


def load_from(evidence: Mapping[str, Any]) -> LoadResult:
    """The load that :func:`as_evidence` wrote; its rows have no ``itls``.

    Raises:
        MeasurementError: it is none, a key is missing, a number is none or negative, the columns
            differ in length, or the times of a request do not fit each other.
    """
    if evidence.get("kind") != KIND:
        raise MeasurementError(f"the report keeps a {evidence.get('kind')!r}, no {KIND}")
    where = f"the load {evidence.get('name')!r} kept in the report"
    table = evidence.get("requests")
    if not isinstance(table, dict):
        raise MeasurementError(f"{where}: requests is a {type(table).__name__}, no table")
    columns = [column(table, name, accepts, where) for name, accepts in _COLUMNS.items()]
    lengths = {name: len(values) for name, values in zip(_COLUMNS, columns, strict=True)}
    if len(set(lengths.values())) != 1:
        raise MeasurementError(f"{where}: the columns differ in length: {lengths}")
    rows = tuple(RequestRow(*values) for values in zip(*columns, strict=True))
    _check_rows(rows, table, where)
    completed = total(evidence, "completed", is_count, where)
    timed = sum(row.succeeded for row in rows)
    if timed < completed:
        raise MeasurementError(
            f"{where}: {completed} requests count as completed, but only {timed} have a time to "
            "the first token and no error"
        )
    optional = {
        key: None if evidence.get(key) is None else total(evidence, key, is_count, where)
        for key in ("failed", "npus", "seed")
    }
    return LoadResult(
        path=Path(str(evidence.get("path", ""))),
        num_prompts=total(evidence, "num_prompts", is_count, where),
        completed=completed,
        failed=optional["failed"],
        duration=float(total(evidence, "duration", is_duration, where)),
        request_throughput=float(total(evidence, "request_throughput", is_duration, where)),
        request_rate=rate(evidence.get("request_rate"), where),
        max_concurrency=concurrency(evidence.get("max_concurrency"), where),
        rows=rows,
        client_times=bool(evidence.get("client_times")),
        queue_times=queue_times(table, "queued", len(rows), where),
        reported=_mapping(evidence, "reported", where),
        workload=str(evidence.get("name", "")),
        hardware=str(evidence.get("hardware", "")),
        npus=optional["npus"],
        seed=optional["seed"],
        surroundings=_surroundings_from(evidence.get("surroundings"), where),
    )


def _check_rows(rows: tuple[RequestRow, ...], table: Mapping[str, Any], where: str) -> None:
    tpots = table.get("tpot")
    if not isinstance(tpots, list) or len(tpots) != len(rows):
        raise MeasurementError(f"{where}: tpot is no column of {len(rows)} values")
    for index, (row, tpot) in enumerate(zip(rows, tpots, strict=True)):
        # A gap is rounded on its own, so it may exceed the whole by a microsecond.
        if row.e2el < row.ttft or row.longest_gap > row.e2el - row.ttft + 2e-6:
            raise MeasurementError(
                f"{where}: request {index} has TTFT {row.ttft} s, a gap of {row.longest_gap} s and "
                f"end-to-end latency {row.e2el} s, which do not fit"
            )
        own = row.tpot if row.succeeded else None
        if own is None or not is_number(tpot):
            fits = tpot is None and own is None
        else:
            fits = abs(tpot - own) < 1e-9
        if not fits:
            raise MeasurementError(
                f"{where}: request {index}: TPOT {tpot!r} is not that of its row"
            )


def _mapping(values: Mapping[str, Any], key: str, where: object) -> dict[str, float]:
    found = values.get(key)
    if not isinstance(found, dict):
        raise MeasurementError(f"{where}: {key} is a {type(found).__name__}, no object")
    return numbers(found, where)


def _surroundings_as_evidence(around: Surroundings) -> dict[str, Any]:
    return {
        "engine": None if around.engine is None else dict(around.engine),
        "unreadable": around.unreadable,
        "host_running": around.host_running,
        "host_others": around.host_others,
        "host_stolen": around.host_stolen,
    }


def _surroundings_from(kept: Any, where: str) -> Surroundings | None:
    if kept is None:
        return None
    if not isinstance(kept, dict):
        raise MeasurementError(f"{where}: surroundings is a {type(kept).__name__}, no object")
    host = {
        key: None if kept.get(key) is None else total(kept, key, is_duration, where)
        for key in ("host_running", "host_others", "host_stolen")
    }
    return Surroundings(
        engine=None if kept.get("engine") is None else _mapping(kept, "engine", where),
        unreadable=str(kept.get("unreadable", "")),
        **host,
    )
