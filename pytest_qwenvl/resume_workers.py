"""What workers have judged, on the disk before they go on to their next test.

A result reaches the controller, and its record, when the worker that found it may be at the next
test already: a kill in between would lose what is on its way. So each worker keeps a file of its
own below the report directory for as long as the run lasts; a run that continues it reads both.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_qwenvl.report.results import Result
from pytest_qwenvl.run import config_of, is_worker, report_root, run_id_of

WORKERS_NAME = "workers"


def keep_on_worker(config: pytest.Config, result: Result) -> None:
    """On a worker of a run that keeps a report: write a result, without its secrets, down.

    A disk that cannot take it is no matter of the worker's: the controller meets and reports it.
    """
    if not is_worker(config) or config_of(config).report_directory is None:
        return
    worker = str(config.workerinput["workerid"])  # type: ignore[attr-defined]
    line = result.model_copy(update={"worker": worker}).model_dump_json()
    folder = report_root(config) / WORKERS_NAME
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        with (folder / f"{run_id_of(config)}.{worker}.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())


def lines_of_workers(directory: Path, run_id: str) -> Iterator[tuple[str, list[str]]]:
    """The whole lines that each worker of a run left, and what follows them, by file name."""
    for path in sorted((directory / WORKERS_NAME).glob(f"{run_id}.*.jsonl")):
        yield path.name, path.read_text(encoding="utf-8", errors="replace").split("\n")


def forget_workers(directory: Path) -> None:
    """Remove the workers' files of a run whose record has all of them, or that is not continued."""
    shutil.rmtree(directory / WORKERS_NAME, ignore_errors=True)
