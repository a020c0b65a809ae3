"""Room: shared memory, temporary files, caches."""

from __future__ import annotations

from pathlib import Path

from pytest_qwenvl.preflight.finding import Examined, Finding
from pytest_qwenvl.preflight.host import Host
from pytest_qwenvl.preflight.table import CompatibilityTable

SHARED_MEMORY = "QVL-ENV-009"
DISK = "QVL-ENV-011"

_GIB = 2**30


def check_shared_memory(host: Host, table: CompatibilityTable) -> Examined:
    """``/dev/shm``, through which an engine's processes talk, is large enough and not full."""
    if host.contained:
        return Examined("each container's own, made by the launcher (--shm-size)")
    inventory = host.inventory
    row = table.hardware_of(host.generation() if inventory.npus else inventory.hardware)
    place = host.path("/dev/shm")
    size = f"--shm-size={row.shared_memory_gib:g}g"
    remedy = f"start the container with {size}; on a host, mount -o remount,size= /dev/shm"
    if not place.is_dir():
        expected = f"one of {row.shared_memory_gib:g} GiB ({row.source})"
        return Examined("", (Finding(SHARED_MEMORY, "no /dev/shm", expected, remedy),))
    space = host.space(place)
    seen = f"/dev/shm of {_gib(space.total)}, {_gib(space.free)} free"
    if space.total < row.shared_memory_gib * _GIB:
        expected = f"{row.shared_memory_gib:g} GiB or more ({row.source})"
        return Examined(seen, (Finding(SHARED_MEMORY, seen, expected, remedy),))
    if space.free < row.shared_memory_free_gib * _GIB:
        expected = f"{row.shared_memory_free_gib:g} GiB or more of it free"
        remedy = "remove what ended engines left there (ls -l /dev/shm; psm_*, sem.*)"
        return Examined(seen, (Finding(SHARED_MEMORY, seen, expected, remedy),))
    return Examined(seen)


def check_disk(host: Host, table: CompatibilityTable) -> Examined:
    """What an engine writes while it runs has room: temporary files and compiled graphs."""
    environment = host.environment
    home = environment.get("HOME") or "/root"
    cache = environment.get("XDG_CACHE_HOME") or f"{home}/.cache"
    wanted = {
        "TMPDIR": (environment.get("TMPDIR") or "/tmp", table.disk.temporary_gib),
        "VLLM_CACHE_ROOT": (environment.get("VLLM_CACHE_ROOT") or cache, table.disk.cache_gib),
    }
    problems, seen = [], []
    for variable, (place, gib) in wanted.items():
        space = host.space(_existing(host.path(place)))
        seen.append(f"{_gib(space.free)} free for {place}")
        if space.free < gib * _GIB:
            remedy = f"make room there, or name another place with {variable}"
            expected = f"{gib:g} GiB ({table.disk.source})"
            problems.append(Finding(DISK, seen[-1], expected, remedy))
    return Examined(", ".join(seen), tuple(problems))


def _existing(path: Path) -> Path:
    """The folder that ``path`` is, or would be made in."""
    return next(it for it in (path, *path.parents) if it.exists())


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f} GiB"
