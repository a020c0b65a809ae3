"""Which weights a run was of: one digest over every file, whatever the folder is called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

# What people and hubs leave beside a model, and no engine reads.
_BESIDE = re.compile(r"(\..*|README.*|.*\.md|.*\.lock|LICENSE.*|.*\.png|.*\.jpe?g)$", re.IGNORECASE)
_BLOB = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 22


def weights_digest(directory: Path) -> str:
    """``sha256:`` and the digest of a list of names and digests of the model's files.

    Two folders with the same files have the same digest, wherever they lie.

    Raises:
        OSError: a file cannot be read.
    """
    lines = [f"{digest}  {name}\n" for name, digest in weights_files(directory).items()]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


@lru_cache(maxsize=32)
def weights_files(directory: Path) -> Mapping[str, str]:
    """The sha256 (hex) of every file of the model, by name; read once a process.

    In a Hugging Face cache large files are named by their own sha256, which the client has
    checked; there, gigabytes need not be read again.

    Raises:
        OSError: a file cannot be read.
    """
    found: dict[str, str] = {}
    for path in sorted(directory.rglob("*"), key=lambda its: its.relative_to(directory).parts):
        name = path.relative_to(directory)
        if path.is_file() and not any(_BESIDE.match(part) for part in name.parts):
            found[name.as_posix()] = _file_digest(path)
    return found


def _file_digest(path: Path) -> str:
    target = path.resolve()
    if path.is_symlink() and target.parent.name == "blobs" and _BLOB.fullmatch(target.name):
        return target.name
    digest = hashlib.sha256()
    with target.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
