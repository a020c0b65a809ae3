"""The folder of locks that every run on a host shares.

A lock is an advisory ``flock`` on an open file of that folder: the kernel drops it with its
holder, even one that was killed. The JSON in the file is for people; the lock is the truth.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import pwd
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_qwenvl.errors import UsageProblem

LOCK_DIRECTORY_VARIABLE = "QWENVL_LOCK_DIRECTORY"
_DEFAULT = Path("/tmp/pytest-qwenvl-leases")
_MOUNTS = Path("/proc/self/mounts")
# There a flock is refused, is known to this host only, or outlives its holder until a server
# notices; and npu0 of one host would exclude npu0 of another.
_OF_MANY_HOSTS = re.compile(
    r"nfs\d*|cifs|smb\w*|afs|ceph|lustre|gpfs|beegfs|glusterfs|ocfs2|gfs2|"
    r"fuse\.(?!fuse-overlayfs|portal|lxcfs)\w.*"
)
_NO_FLOCK = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class LeaseRecord(BaseModel):
    """Who holds a device, or stands in line for some.

    Attributes:
        pid: as the holder's own pid namespace counts.
        user: the holder's name on this host, or its number where it has none.
        since: seconds since the epoch.
        holder: what it is for, e.g. ``qwen3-vl-8b-instruct/serve-1npu``.
        run_id: the pytest run it belongs to.
        devices: everything this lease holds; of a request in line, what it may choose from.
        count: how many it asked for.
        quarantined: why nobody may use the device although its lease has ended; else empty.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    pid: int
    user: str = ""
    since: float
    holder: str
    run_id: str = ""
    devices: tuple[str, ...] = ()
    count: int = Field(default=0, ge=0)
    quarantined: str = ""

    @property
    def written(self) -> bytes:
        """The record as it stands in a file."""
        return self.model_dump_json(exclude_defaults=True).encode()

    @classmethod
    def mine(
        cls, holder: str, run_id: str, devices: tuple[str, ...] = (), count: int = 0
    ) -> LeaseRecord:
        """A record of this process and moment."""
        return cls(
            pid=os.getpid(),
            user=_user_name(os.getuid()),
            since=time.time(),
            holder=holder,
            run_id=run_id,
            devices=devices,
            count=count,
        )


class Lock:
    """A lock that is held; ends with ``release`` or with this process."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        self._written = False

    def write(self, data: bytes) -> None:
        """Say who holds it: ``LeaseRecord.written``."""
        with explained(self._path):
            # The new text first: a reader in between sees text that is no JSON, not an empty
            # file, which would mean that nobody holds it.
            os.pwrite(self._descriptor, data, 0)
            if self._written:
                os.ftruncate(self._descriptor, len(data))
        self._written = True

    def release(self, *, remove: bool = False) -> None:
        """Give it back; with ``remove`` its file goes too."""
        if self._descriptor < 0:
            return
        if self._written:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
        if remove:
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1


class LockDirectory:
    """A folder of locks; made, with the rights it needs, when it is not there.

    Args:
        path: shared by all that are to exclude each other.

    Raises:
        UsageProblem: locks cannot be kept there; with what was seen and what to do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path):
            if not path.is_dir():
                _create_directory(path)
        kind = file_system_of(path)
        if _OF_MANY_HOSTS.fullmatch(kind):
            raise UsageProblem(
                f"cannot keep device locks in {path}: it is on a file system of type {kind}, "
                f"which other hosts share; {_REMEDY}"
            )
        self._paths: dict[str, Path] = {}
        with contextlib.suppress(_Busy):
            os.close(self._open("turn", fcntl.LOCK_SH | fcntl.LOCK_NB))

    def try_lock(self, name: str, opened: dict[str, int] | None = None) -> Lock | None:
        """Take a lock if nobody has it.

        Args:
            opened: where the open file of a lock that somebody has is kept for the next try, for
                one who tries again and again; the caller closes what is left in it.
        """
        try:
            descriptor = self._open(name, fcntl.LOCK_EX | fcntl.LOCK_NB, opened)
        except _Busy:
            return None
        # What is in it was left by a holder that was killed.
        if os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, 0)
        return Lock(descriptor, self._path(name))

    @contextlib.contextmanager
    def turn(self) -> Iterator[int]:
        """Be the only one in a ``with`` block that must be short; the file's descriptor."""
        descriptor = self._open("turn", fcntl.LOCK_EX)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def folder(self, name: str) -> Path:
        """A folder in this one that is everybody's too."""
        folder = self.path / name
        with explained(folder):
            if not folder.is_dir():
                _create_directory(folder)
        return folder

    def _path(self, name: str) -> Path:
        # Made once: who is first in line tries all of them again and again.
        return self._paths.get(name) or self._paths.setdefault(name, self.path / name)

    def _open(self, name: str, operation: int, opened: dict[str, int] | None = None) -> int:
        path = self._path(name)
        with explained(path):
            while True:
                descriptor = -1 if opened is None else opened.pop(name, -1)
                if descriptor < 0:
                    descriptor = _open_or_create(path)
                try:
                    fcntl.flock(descriptor, operation)
                    # Whoever cleans up /tmp may remove a file between the opening and the lock.
                    if _is_at(descriptor, path):
                        return descriptor
                except BlockingIOError:
                    if opened is None:
                        os.close(descriptor)
                    else:
                        opened[name] = descriptor
                    raise _Busy from None
                except BaseException:
                    os.close(descriptor)
                    raise
                os.close(descriptor)


class _Busy(Exception):
    """Somebody holds the lock."""


def default_lock_directory(environment: Mapping[str, str] | None = None) -> Path:
    """Where every run on this host looks for locks, whoever started it.

    Not below ``$TMPDIR``: batch systems and CI give each job another one, and runs that look in
    different folders would use one device. ``$QWENVL_LOCK_DIRECTORY`` names another folder, for
    containers that share NPUs and no ``/tmp``.
    """
    environment = os.environ if environment is None else environment
    return Path(environment.get(LOCK_DIRECTORY_VARIABLE) or _DEFAULT)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of this file; a file that is not there is held by nobody."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_record(path: Path) -> LeaseRecord | None:
    """What a lock's file says; None where it says nothing or is just being written."""
    try:
        return LeaseRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def file_system_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """Type of the file system a folder is on, as the kernel names it; empty if it does not say."""
    place = path.resolve()
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    best: tuple[int, str] = (-1, "")
    for line in lines:
        _, point, kind, *_ = [*line.split(" "), "", "", ""]
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point)
        # Of two mounts on one point the later one is seen.
        if place.is_relative_to(point) and len(point) >= best[0]:
            best = (len(point), kind)
    return best[1]


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn trouble with a lock's file into what the user can do about it."""
    try:
        yield
    except OSError as problem:
        what = "make it writable for every user of this host (chmod 1777)"
        if problem.errno in _FULL:
            what = "make room there"
        elif problem.errno in _NO_FLOCK:
            what = "its file system knows no flock"
        raise UsageProblem(
            f"cannot keep device locks in {path}: {problem.strerror or problem}; {what}, or "
            f"{_REMEDY}"
        ) from None


_REMEDY = (
    f"name a folder on a disk of this host with {LOCK_DIRECTORY_VARIABLE}, the same one for every "
    "run that uses its devices"
)


def _open_or_create(path: Path) -> int:
    while True:
        # Without O_TRUNC: the record in it belongs to whoever holds the lock now. Without O_CREAT:
        # a kernel with protected_regular refuses that on another user's file.
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            _create(path)


def _create(path: Path) -> None:
    """Make an empty file that is everybody's from the moment it can be seen."""
    hidden = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(hidden, flags, 0o666)
    try:
        os.fchmod(descriptor, 0o666)
        with contextlib.suppress(FileExistsError):
            os.link(hidden, path)
    finally:
        os.close(descriptor)
        os.unlink(hidden)


def _create_directory(path: Path) -> None:
    """Make a folder that is everybody's from the moment it can be seen, as /tmp is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        os.chmod(hidden, 0o1777)
        os.rename(hidden, path)
    except OSError:
        os.rmdir(hidden)
        if not path.is_dir():
            raise


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


@functools.lru_cache(maxsize=1)
def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
