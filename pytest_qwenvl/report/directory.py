"""The report directory: usable before anything starts, held by one run, never left half-written."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from pytest_qwenvl.errors import UsageProblem

REPORT_NAME = "report.json"
RESULTS_NAME = "results.jsonl"
PAGE_NAME = "report.html"
ATTEMPTS_NAME = "attempts"
"""Folder with the records of the runs that a resumed one continued."""

PROBE_BYTES = 256 * 1024
"""What must fit on the disk at the start; a report grows to about this."""

_NO_LOCKS_HERE = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


def check_directory(path: Path, option: str = "--conformance-report") -> None:
    """Make ``path`` a directory and write to it, so that no run finds out after an hour.

    Args:
        option: which named it, for messages.

    Raises:
        UsageProblem: it is a file, cannot be made, cannot be written, or has no space left.
    """
    option = f"{option} {path}"
    if path.exists() and not path.is_dir():
        raise UsageProblem(f"{option}: is a file; the report needs a folder of its own")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageProblem(
            f"{option}: cannot be made: {_why(error)}; give a folder that can be written"
        ) from error
    probe = path / f".probe-{os.getpid()}"
    try:
        with probe.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageProblem(
            f"{option}: a trial file of {PROBE_BYTES // 1024} KiB could not be written: "
            f"{_why(error)}; free some space, or give a folder that can be written"
        ) from error
    finally:
        with suppress(OSError):
            probe.unlink()


class ReportDirectory:
    """One run's hold on a report directory, and its files.

    A lock on the directory itself keeps a second run from writing its report into the same
    place; it goes with the process, whatever ends it.

    Args:
        option: which named it, for messages.

    Raises:
        UsageProblem: the directory cannot be used, or another run is writing to it.
    """

    def __init__(self, path: Path, option: str = "--conformance-report") -> None:
        check_directory(path, option)
        self.path = path
        self._results_fd: int | None = None
        self._results_size = 0
        self._lock_fd: int | None = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise UsageProblem(
                f"{option} {path}: another run is writing its report there{_holder(path)}; wait "
                "for it, or give this run a folder of its own"
            ) from error
        except OSError as error:
            # Some network file systems lock no directories: then there is no such protection.
            if error.errno not in _NO_LOCKS_HERE:
                self.close()
                raise

    def begin_results(self, lines: list[str]) -> None:
        """Start ``results.jsonl`` anew with these lines, in one step; raises OSError.

        Until then what an earlier run left there stays. Its page goes: beside this run's results
        it would show another's.
        """
        (self.path / PAGE_NAME).unlink(missing_ok=True)
        target = self.path / RESULTS_NAME
        partial = self.path / f"{RESULTS_NAME}.partial"
        self._results_fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._results_size = 0
        self.append_results(lines)
        os.replace(partial, target)

    def keep_attempt(self, run_id: str) -> None:
        """Keep the record of the run that is continued here, beside the one that follows.

        Raises:
            OSError: it cannot be written.
        """
        folder = self.path / ATTEMPTS_NAME
        folder.mkdir(exist_ok=True)
        target = folder / f"{run_id}.jsonl"
        if target.exists():
            return
        try:
            os.link(self.path / RESULTS_NAME, target)
        except OSError:
            # Not every file system has links.
            shutil.copyfile(self.path / RESULTS_NAME, target)

    def append_results(self, lines: list[str]) -> None:
        """Append whole lines and see them onto the disk.

        Raises:
            OSError: they could not be written; the file ends after its last whole line.
        """
        if self._results_fd is None:
            raise OSError(errno.EBADF, "results.jsonl was never begun", RESULTS_NAME)
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            written = 0
            while written < len(data):
                at = self._results_size + written
                written += os.pwrite(self._results_fd, data[written:], at)
            os.fsync(self._results_fd)
        except OSError:
            # A torn line would be followed by whole ones once there is space again.
            with suppress(OSError):
                os.ftruncate(self._results_fd, self._results_size)
            raise
        self._results_size += len(data)

    def replace_report(self, text: str) -> None:
        """Replace ``report.json`` in one step; raises OSError and then leaves the old one."""
        replace_file(self.path / REPORT_NAME, f"{text}\n")

    def replace_page(self, text: str) -> None:
        """Replace ``report.html`` in one step; raises OSError and then leaves the old one."""
        replace_file(self.path / PAGE_NAME, text)

    def close(self) -> None:
        """Let go of the directory; the files stay."""
        for fd in (self._results_fd, self._lock_fd):
            if fd is not None:
                os.close(fd)
        self._results_fd = self._lock_fd = None


def replace_file(path: Path, text: str) -> None:
    """Write a file whole or not at all; raises OSError and then leaves what was there."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


def _holder(path: Path) -> str:
    """Who writes there, as its record's first line says; empty where it says nothing."""
    try:
        with (path / RESULTS_NAME).open(encoding="utf-8") as file:
            header = json.loads(file.readline())
        return f" (process {int(header['pid'])} on {header['host']}, run {header['run_id']})"
    except (OSError, ValueError, TypeError, LookupError):
        return ""


def _why(error: OSError) -> str:
    return error.strerror or str(error)
