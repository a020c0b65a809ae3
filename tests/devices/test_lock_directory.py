"""What can be wrong with the folder of locks."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_qwenvl.devices import locks as locks_module
from pytest_qwenvl.devices.lease import DevicePool
from pytest_qwenvl.devices.locks import file_system_of, is_locked, read_record
from pytest_qwenvl.errors import UsageProblem
from tests.engines.support import PATIENCE

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def pool(locks: Path, devices: int = 2) -> DevicePool:
    return DevicePool(range(devices), [f"device{index}" for index in range(devices)], locks)


def as_user(user: int, act: Callable[[], None]) -> str:
    """What comes of an act of another user: the text of a UsageProblem, or nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            os.umask(0o077)
            act()
        except UsageProblem as problem:
            os.write(writing, str(problem).encode())
        except BaseException as problem:
            os.write(writing, f"not foreseen: {problem!r}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    os.waitpid(child, 0)
    return text


@pytest.fixture
def open_folder(tmp_path) -> Path:
    """A folder that other users can reach and write, as /tmp is."""
    # A worker of xdist has a folder of its own in between.
    below_tmp = [it for it in tmp_path.parents if Path(tempfile.gettempdir()) in it.parents]
    for folder in (tmp_path, *below_tmp):
        folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o1777)
    return tmp_path


def lease_one(locks: Path) -> None:
    with pool(locks).lease(1, "somebody"):
        pass


@needs_root
@pytest.mark.parametrize("first", [0, NOBODY])
def test_users_share_a_folder_whoever_made_it(open_folder, first):
    locks = open_folder / "locks"
    second = NOBODY if first == 0 else 1
    assert as_user(first, lambda: lease_one(locks)) == ""
    assert locks.stat().st_uid == first
    assert as_user(second, lambda: lease_one(locks)) == ""
    assert as_user(0, lambda: lease_one(locks)) == ""


@needs_root
def test_another_users_lease_excludes(open_folder):
    locks = open_folder / "locks"
    with pool(locks).lease(1, "mine") as mine:

        def ask() -> None:
            with pool(locks).lease(1, "theirs") as lease:
                raise UsageProblem(f"got {lease.physical}")

        assert mine.physical == ("device0",)
        assert as_user(NOBODY, ask) == "got ('device1',)"


@needs_root
def test_what_another_user_left_when_killed_is_no_obstacle(open_folder):
    locks = open_folder / "locks"

    def hold_and_die() -> None:
        with pool(locks).lease(2, "killed"):
            os.kill(os.getpid(), signal.SIGKILL)

    as_user(NOBODY, hold_and_die)
    record = read_record(locks / "device0")
    assert record is not None
    assert (record.holder, record.user) == ("killed", "nobody")
    assert not is_locked(locks / "device0")

    def take() -> None:
        with pool(locks).lease(2, "next"):
            said = read_record(locks / "device0")
            raise UsageProblem(f"held by {said.holder if said else None}")

    assert as_user(1, take) == "held by next"


@needs_root
def test_a_folder_that_belongs_to_another_user_alone(open_folder):
    locks = open_folder / "locks"
    locks.mkdir(mode=0o755)
    said = as_user(NOBODY, lambda: lease_one(locks))
    assert said.startswith(f"cannot keep device locks in {locks}/turn: Permission denied; make it")
    assert "make it writable for every user of this host (chmod 1777), or name a folder" in said
    assert "QWENVL_LOCK_DIRECTORY" in said


@needs_root
def test_a_read_only_folder(open_folder):
    locks = open_folder / "locks"
    locks.mkdir()
    locks.chmod(0o555)
    said = as_user(NOBODY, lambda: lease_one(locks))
    assert said.startswith(f"cannot keep device locks in {locks}/turn: Permission denied")


@needs_root
def test_a_read_only_place_for_the_folder(open_folder):
    place = open_folder / "place"
    place.mkdir(mode=0o555)
    place.chmod(0o555)
    said = as_user(NOBODY, lambda: lease_one(place / "locks"))
    assert said.startswith(f"cannot keep device locks in {place}/locks: Permission denied")
    assert list(place.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 16 files."""
    disk = tmp_path / "disk"
    disk.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=16", "tmpfs", str(disk)]
    try:
        subprocess.run(argv, check=True, capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.CalledProcessError) as problem:
        pytest.skip(f"no disk can be mounted here: {problem}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True, timeout=PATIENCE)


def test_a_full_disk_before_the_run(small_disk):
    for number in range(15):
        (small_disk / f"file{number}").touch()
    with pytest.raises(UsageProblem) as caught:
        pool(small_disk / "locks")
    assert "No space left on device; make room there, or name a folder" in str(caught.value)


def test_a_disk_that_is_full_when_devices_are_asked_for(small_disk):
    ready = pool(small_disk / "locks", devices=1)
    lease_one(small_disk / "locks")
    with contextlib.suppress(OSError):
        for number in range(16):
            (small_disk / f"file{number}").touch()
    with pytest.raises(UsageProblem, match="No space left on device; make"), ready.lease(1, "me"):
        pass
    assert not is_locked(small_disk / "locks" / "device0")


MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
tmpfs /home/local tmpfs rw 0 0
//server/share /mnt/with\\040space cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/tmp/locks", "ext4"),
        ("/home/locks", "nfs4"),
        ("/homely/locks", "ext4"),
        ("/home/local/locks", "tmpfs"),
        ("/mnt/with space/locks", "cifs"),
    ],
)
def test_the_file_system_of_a_folder(tmp_path, path, kind):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert file_system_of(Path(path), mounts) == kind


def test_a_host_that_does_not_tell_its_mounts(tmp_path):
    assert file_system_of(tmp_path, tmp_path / "mounts") == ""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "lustre", "ceph", "fuse.sshfs", "beegfs"])
def test_a_file_system_that_other_hosts_share(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(locks_module, "file_system_of", lambda path: kind)
    with pytest.raises(UsageProblem) as caught:
        pool(tmp_path / "locks")
    assert f"is on a file system of type {kind}, which other hosts share" in str(caught.value)
    assert "name a folder on a disk of this host with QWENVL_LOCK_DIRECTORY" in str(caught.value)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "tmpfs", "overlay", "btrfs", "fuse.fuse-overlayfs", ""]
)
def test_a_file_system_of_this_host(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(locks_module, "file_system_of", lambda path: kind)
    lease_one(tmp_path / "locks")


def test_a_file_system_without_flock(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks_module.fcntl, "flock", refuse)
    with pytest.raises(UsageProblem, match="its file system knows no flock, or name a folder"):
        pool(tmp_path / "locks")


def test_a_planted_link_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    ready = pool(tmp_path / "locks")
    (tmp_path / "locks" / "device0").symlink_to(victim)
    with pytest.raises(UsageProblem, match="cannot keep device locks"), ready.lease(2, "me"):
        pass
    assert victim.read_text() == "precious"


def test_runs_started_in_the_same_millisecond(tmp_path):
    """A folder that nobody made yet, and 12 processes that make it and ask at once."""
    locks = tmp_path / "locks"
    code = (
        "import sys, time; from pathlib import Path\n"
        "from tests.devices.test_lock_directory import pool\n"
        "print('ready', flush=True); begin = float(sys.stdin.readline())\n"
        "time.sleep(max(0.0, begin - time.time()))\n"
        "with pool(Path(sys.argv[1]), 12).lease(1, 'me') as lease:\n"
        "    print(lease.physical[0], flush=True); sys.stdin.readline()\n"
    )
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(12):
            one = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", code, str(locks)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(one.kill)
            started.append(one)
        said = [one.stdout.readline() for one in started if one.stdout]
        assert said == ["ready\n"] * 12
        begin = time.time() + 0.5
        for one in started:
            assert one.stdin is not None
            one.stdin.write(f"{begin}\n")
            one.stdin.flush()
        got = [one.stdout.readline().strip() for one in started if one.stdout]
    assert sorted(got) == sorted(f"device{number}" for number in range(12))
