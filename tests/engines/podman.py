"""What the tests with a real podman share: an image made of this host, and looking for remains.

The image is an empty tree; programs and libraries of this host are mounted into it, read-only.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

IMAGE = f"localhost/pytest-qwenvl-test:{os.getpid()}"
CHECKOUT = Path(__file__).parents[2]
_LIMIT = 20000  # of open files and of processes: more than a test comes near
_FOLDERS = ("dev", "proc", "sys", "etc", "root", "run", "usr", "var")
_FILES = ("etc/ld.so.cache", "etc/passwd", "etc/group", "etc/nsswitch.conf")
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64")


def podman(*arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["podman", *arguments], input=data, capture_output=True, timeout=120, check=False
    )


@functools.cache
def why_not() -> str:
    """Why no container can be run here; empty where one can."""
    if shutil.which("podman") is None:
        return "podman is not installed: apt-get install podman runc (or dnf install podman)"
    made = podman("import", "-", IMAGE, data=_tree())
    atexit.register(podman, "rmi", "--force", IMAGE)
    if made.returncode != 0:
        return f"podman cannot make an image: {made.stderr.decode().strip()}"
    tried = podman("run", "--rm", "--network=host", *options(), IMAGE, sys.executable, "-c", "")
    return f"podman runs no container here: {tried.stderr.decode().strip()}" * bool(
        tried.returncode
    )


def need_podman() -> None:
    """Skip, with what to do, where no container can be run."""
    if why_not():
        pytest.skip(why_not())


def options(*places: Path) -> list[str]:
    """Options that give a container this host's programs, this Python and further places."""
    wanted = [Path("/usr"), Path("/etc/alternatives"), CHECKOUT, *places]
    wanted += [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]]
    wanted += [Path("/", name) for name in _LINKS if not Path("/", name).is_symlink()]
    found = [f"--volume={place}:{place}:ro" for place in dict.fromkeys(wanted) if place.is_dir()]
    # podman asks for more than a host may be allowed to give.
    limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    for name, number in limits.items():
        hard = resource.getrlimit(number)[1]
        limit = min(hard, _LIMIT) if hard > 0 else _LIMIT
        found.append(f"--ulimit={name}={limit}:{limit}")
    return found


def left(folder: Path) -> list[str]:
    """Containers whose run writes below the folder, whatever their state, and their processes."""
    listed = json.loads(podman("ps", "--all", "--format=json").stdout or b"[]")
    found = [
        container["Names"][0]
        for container in listed
        if any(str(folder) in (mount or "") for mount in container["Mounts"] or [])
    ]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in command:
                found.append(f"{entry.name}: {command}")
    return found


def _tree() -> bytes:
    import io

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tree:
        for name in _FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tree.addfile(folder)
        scratch = tarfile.TarInfo("tmp")
        scratch.type, scratch.mode = tarfile.DIRTYPE, 0o1777
        tree.addfile(scratch)
        for name in _LINKS:
            if Path("/", name).is_symlink():
                tree.add(f"/{name}", name)
        for name in _FILES:
            if Path("/", name).is_file():
                tree.add(f"/{name}", name)
    return file.getvalue()
