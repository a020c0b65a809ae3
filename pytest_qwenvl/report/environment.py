"""Facts of the host a run took place on, read from the kernel's own files in milliseconds."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MOST_REFERENCES = 5
_CONTAINER_FILES = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}
_CONTAINER_NAMES = ("docker", "kubepods", "containerd", "libpod", "lxc")


def host_facts(root: Path = Path("/")) -> dict[str, Any]:
    """What a reader needs to know of the host; None for what cannot be told.

    ``cores`` are those this process may use, which a container or ``taskset`` can make fewer
    than ``cores_of_host``; ``memory_gib`` is the host's, ``memory_limit_gib`` a control group's,
    None where there is none.

    Args:
        root: where ``proc`` and ``sys`` lie; only tests give another.
    """
    container = container_of(root)
    return {
        "cpu": _cpu_model(root),
        "cores": len(os.sched_getaffinity(0)),
        "cores_of_host": os.cpu_count(),
        "memory_gib": _memory_gib(root),
        "memory_limit_gib": _memory_limit_gib(root),
        "kernel": os.uname().release,
        "architecture": os.uname().machine,
        "platform": _distribution(root),
        "python": ".".join(map(str, sys.version_info[:3])),
        "container": container is not None,
        "container_kind": container,
    }


def container_of(root: Path = Path("/")) -> str | None:
    """The kind of container this process runs in; None outside of any, as far as one can tell."""
    for name, kind in _CONTAINER_FILES.items():
        if (root / name.lstrip("/")).exists():
            return kind
    # systemd's convention, followed by podman and systemd-nspawn, is lower case.
    if named := os.environ.get("container"):  # noqa: SIM112
        return named
    groups = _text(root / "proc/1/cgroup")
    for name in _CONTAINER_NAMES:
        if name in groups:
            return name
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    return None


def checkout_commit(start: Path) -> str | None:
    """The commit checked out in the git work tree that holds ``start``; None outside of one.

    Read from git's files, not by running git: it need not be installed, and may refuse a
    checkout that belongs to another user.
    """
    for folder in (start, *start.parents):
        git = folder / ".git"
        if git.is_file():
            # A linked work tree: one line that points to the real folder.
            pointer = _text(git).strip()
            if not pointer.startswith("gitdir: "):
                return None
            return _head(folder / pointer.removeprefix("gitdir: "))
        if git.is_dir():
            return _head(git)
    return None


def _head(git: Path) -> str | None:
    shared = _text(git / "commondir").strip()
    common = git / shared if shared else git
    value = _text(git / "HEAD").strip()
    for _ in range(_MOST_REFERENCES):
        if not value.startswith("ref: "):
            break
        name = value.removeprefix("ref: ")
        value = (
            _text(git / name).strip()
            or _text(common / name).strip()
            or _packed(_text(common / "packed-refs"), name)
        )
    return value if _COMMIT.fullmatch(value) else None


def _packed(text: str, name: str) -> str:
    for line in text.splitlines():
        commit, _, reference = line.partition(" ")
        if reference == name:
            return commit
    return ""


def _cpu_model(root: Path) -> str | None:
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        # Arm kernels have no "model name"; some name the chip under "Hardware" or "Model".
        if key.strip() in ("model name", "Hardware", "Model") and value.strip():
            return value.strip()
    return None


def _memory_gib(root: Path) -> float | None:
    match = re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"), re.M)
    return round(int(match[1]) / 2**20, 1) if match else None


def _memory_limit_gib(root: Path) -> float | None:
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _text(root / name).strip()
        # Version 1 writes "no limit" as a number near 2**63.
        if text.isdecimal() and int(text) < 2**60:
            return round(int(text) / 2**30, 1)
    return None


def _distribution(root: Path) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)', _text(root / "etc/os-release"), re.M)
    return match[1] if match else os.uname().sysname


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
