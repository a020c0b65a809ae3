"""Which weights a run was of: one digest over every file, whatever the folder is called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

# What people and hubs leave beside a model, and no engine reads.
_BESIDE = re.compile(r"(\..*|README.*|.*\.md|.*\.lock|LICENSE.*|.*\.png|.*\.jpe?g)$", re.IGNORECASE)
_BLOB = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 22
SMALL_FILE = 16 << 20
"""Bytes up to which :func:`weights_fingerprint` reads a file."""


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
    return {name: _file_digest(path) for name, path in _model_files(directory)}


def _model_files(directory: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(directory.rglob("*"), key=lambda its: its.relative_to(directory).parts):
        name = path.relative_to(directory)
        if path.is_file() and not any(_BESIDE.match(part) for part in name.parts):
            yield name.as_posix(), path


def _is_blob(path: Path, target: Path) -> bool:
    return (
        path.is_symlink()
        and target.parent.name == "blobs"
        and _BLOB.fullmatch(target.name) is not None
    )


def _file_digest(path: Path) -> str:
    target = path.resolve()
    if _is_blob(path, target):
        return target.name
    digest = hashlib.sha256()
    with target.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def weights_fingerprint(directory: Path) -> str:
    """A digest of a model's files that is made in moments, however large they are.

    Small files count with their content, large ones of a Hugging Face cache with the sha256 they
    are named by, and other large ones with their size and time of change: reading hundreds of
    gigabytes before every run would cost minutes.

    Raises:
        OSError: a file cannot be read.
    """
    lines = []
    for name, path in _model_files(directory):
        target = path.resolve()
        facts = target.stat()
        if _is_blob(path, target) or facts.st_size <= SMALL_FILE:
            told = _file_digest(path)
        else:
            told = f"{facts.st_size} bytes of {facts.st_mtime_ns}"
        lines.append(f"{told}  {name}\n")
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()[:16]}"
