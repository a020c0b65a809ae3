"""Which weights a run was of: one digest over every file, whatever the folder is called."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

# What people and hubs leave beside a model, and no engine reads.
_BESIDE = re.compile(r"(\..*|README.*|.*\.md|.*\.lock|LICENSE.*|.*\.png|.*\.jpe?g)$", re.IGNORECASE)
_BLOB = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 22


@lru_cache(maxsize=32)
def weights_digest(directory: Path) -> str:
    """``sha256:`` and the digest of a list of names, sizes and digests of the model's files.

    Two folders with the same files have the same digest, wherever they lie. In a Hugging Face
    cache large files are named by their own sha256, which the client has checked; there, gigabytes
    need not be read again.

    Raises:
        OSError: a file cannot be read.
    """
    manifest = hashlib.sha256()
    for path in sorted(directory.rglob("*"), key=lambda its: its.relative_to(directory).parts):
        name = path.relative_to(directory)
        if not path.is_file() or any(_BESIDE.match(part) for part in name.parts):
            continue
        manifest.update(
            f"{name.as_posix()}\0{path.stat().st_size}\0{_file_digest(path)}\n".encode()
        )
    return f"sha256:{manifest.hexdigest()}"


def _file_digest(path: Path) -> str:
    target = path.resolve()
    if path.is_symlink() and target.parent.name == "blobs" and _BLOB.fullmatch(target.name):
        return target.name
    digest = hashlib.sha256()
    with target.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
