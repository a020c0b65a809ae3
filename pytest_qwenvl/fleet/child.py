"""On a node: one deployment in a child pytest, and its report folder as a fragment.

Nothing here knows Ray. The child runs under a guardian, so that it and its engines end when this
process does, whatever ends it; its folder goes then too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.log_following import LogFollower, read_from
from pytest_qwenvl.engines.process import EngineProcess
from pytest_qwenvl.errors import EngineError
from pytest_qwenvl.fleet.fragment_files import Manifest, pack
from pytest_qwenvl.fleet.orders import Ended, Event, Order, Piece, Said
from pytest_qwenvl.report.directory import REPORT_NAME, RESULTS_NAME

LOG = "pytest.log"
JUNIT = "junit.xml"
_INTERVAL = 1.0  # seconds between looks at the child
_MOST_LINES = 20  # of its output, told at once; the log in the fragment has all
_LONGEST_LINE = 400  # characters
_TAIL_LINES = 30  # of its output, where it left no report
_SWEEP = Path(__file__).with_name("sweep.py")


def run_order(order: Order) -> Iterator[Event]:
    """Run the deployment of an order, tell how it goes, and send its fragment.

    Whatever goes wrong is told as the last event; nothing is raised.
    """
    try:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(_folder(order))
            problem = yield from _run(order, folder, stack)
            if problem:
                yield Ended("", problem)
                return
            manifest = Manifest(
                fleet=order.fleet,
                model=order.model,
                deployment=order.deployment,
                number=order.number,
                suite_digest=order.suite_digest,
                files={},
            )
            digest = hashlib.sha256()
            for data in pack(folder / "report", manifest):
                digest.update(data)
                yield Piece(data)
            yield Ended(digest.hexdigest())
    except (OSError, EngineError) as error:
        yield Ended("", f"its host could not run it: {error}")


@contextlib.contextmanager
def _folder(order: Order) -> Iterator[Path]:
    """A folder of the attempt's own, removed at the end even when this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix=f"qwenvl-fleet-{order.fleet}-"))
    reader, writer = os.pipe()
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", str(_SWEEP), str(folder)],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=True,
        )
        (folder / "report").mkdir()
        yield folder
    except subprocess.CalledProcessError as error:
        raise OSError(f"the folder {folder} could not be guarded: {error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(reader)
        os.close(writer)


def _run(order: Order, folder: Path, stack: contextlib.ExitStack) -> Generator[Event, None, str]:
    """Run the child to its end; gives what kept it from leaving a report, empty if nothing."""
    report = folder / "report"
    argv = (sys.executable, "-m", "pytest", *_arguments(order, folder))
    launch = Launch(argv, {**order.environment, "PYTHONUNBUFFERED": "1"})
    child = EngineProcess.start(
        launch, log_path=report / LOG, working_directory=Path(order.directory)
    )
    stack.callback(lambda: child.stop(grace=2.0))
    news = _News(report)
    yield Said((f"attempt {order.number} begun",), 0)
    over = False
    while not over:
        over = child.wait_exit(_INTERVAL) is not None
        said = news.look(last=over)
        if said is not None:
            yield said
    status = child.stop(grace=2.0)
    if (report / REPORT_NAME).is_file():
        return ""
    tail = [line[:_LONGEST_LINE] for line in child.log_tail(_TAIL_LINES).splitlines()]
    return "\n".join([f"pytest ended with exit code {status} and left no report:", *tail])


def _arguments(order: Order, folder: Path) -> list[str]:
    """The user's arguments, then what makes this one attempt of them: the last word wins."""
    arguments = [
        *order.arguments,
        f"--deployment={order.id}",
        f"--npus={order.devices}",
        f"--backend={order.backend}",
        f"--conformance-report={folder / 'report'}",
        f"--basetemp={folder / 'temporary'}",
        "-p",
        "no:cacheprovider",
    ]
    if order.junit:
        arguments.append(f"--junitxml={folder / 'report' / JUNIT}")
    for option, content in order.files.items():
        path = folder / option.lstrip("-")
        path.write_bytes(content)
        arguments.append(f"{option}={path}")
    return arguments


class _News:
    """What is new of a child: lines of its output, a bounded number, and how far it has come."""

    def __init__(self, report: Path) -> None:
        self._results = report / RESULTS_NAME
        self._results_read = 0
        self._lines_of_results = 0
        self._lines: list[str] = []
        self._follower = LogFollower(report / LOG, self._lines.append)

    def look(self, *, last: bool) -> Said | None:
        """What happened since the last look; None if nothing did."""
        self._follower.look(last=last)
        data = read_from(self._results, self._results_read)
        self._results_read += len(data)
        self._lines_of_results += data.count(b"\n")
        lines = [line[:_LONGEST_LINE] for line in self._lines]
        self._lines.clear()
        if len(lines) > _MOST_LINES:
            left_out = f"[{len(lines) - _MOST_LINES} lines more in {LOG} of its fragment]"
            lines = [left_out, *lines[-_MOST_LINES:]]
        if not (lines or data or last):
            return None
        # The first line is the header.
        return Said(tuple(lines), max(0, self._lines_of_results - 1))
