"""Are a model's weights on this host whole? Read from headers, without loading any.

A ``*.safetensors`` file begins with the length of a JSON header (8 bytes, little endian) that
names every tensor with its place in the rest, and so with the size the file must have.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_qwenvl.errors import InconclusiveError, QwenVLError

_INDEX = "model.safetensors.index.json"
_LONGEST_HEADER = 100 * 2**20  # what the safetensors library itself accepts
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What a served vision model needs beside its weights; any one name of a row is enough.
_COMPANIONS = (
    ("config.json",),
    ("tokenizer.json", "vocab.json"),
    ("preprocessor_config.json", "processor_config.json"),
)


class BrokenShardError(QwenVLError):
    """A file that is not the safetensors file it should be."""


def faults_of(directory: Path) -> list[tuple[str, str]]:
    """(seen, expected) of everything that keeps a directory's weights from being loaded."""
    faults = [
        (f"no {' or '.join(names)} in {directory}", "the files that a checkpoint consists of")
        for names in _COMPANIONS
        if not any((directory / name).is_file() for name in names)
    ]
    try:
        shards = shards_of(directory)
    except BrokenShardError as problem:
        return [*faults, (str(problem), "the index that the checkpoint was published with")]
    if not shards:
        return [*faults, (f"no *.safetensors in {directory}", "a checkpoint's weights")]
    for name, tensors in shards.items():
        path = directory / name
        if not path.is_file():
            faults.append((f"no {path}", f"every shard that {_INDEX} names"))
            continue
        try:
            held, size = read_header(path)
        except BrokenShardError as problem:
            faults.append((str(problem), "a whole safetensors file"))
            continue
        actual = path.stat().st_size
        if actual != size:
            faults.append((f"{path} has {actual} bytes", f"{size}, as its own header says"))
        elif missing := sorted(tensors - held):
            seen = f"{path} lacks {len(missing)} tensors, {missing[0]} among them"
            faults.append((seen, f"the tensors that {_INDEX} looks for in it"))
    return faults


def shards_of(directory: Path) -> dict[str, set[str]]:
    """The weight files a directory must have, each with the tensors it must hold.

    Without an index these are the files that are there, and nothing is known of their tensors.

    Raises:
        BrokenShardError: the index cannot be read.
    """
    index = directory / _INDEX
    if not index.is_file():
        return {path.name: set() for path in sorted(directory.glob("*.safetensors"))}
    found: dict[str, set[str]] = {}
    try:
        for tensor, shard in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items():
            found.setdefault(str(shard), set()).add(tensor)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
        raise BrokenShardError(f"{index} is broken ({type(problem).__name__})") from None
    return dict(sorted(found.items()))


def read_header(path: Path) -> tuple[set[str], int]:
    """The names of a file's tensors, and the size in bytes that it must have.

    Raises:
        BrokenShardError: it has no such header.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= _LONGEST_HEADER:
                raise BrokenShardError(f"{path} has no safetensors header")
            header: dict[str, Any] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        ends = [int(tensor["data_offsets"][1]) for tensor in header.values()]
    except OSError as problem:
        raise BrokenShardError(f"{path} cannot be read: {problem.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise BrokenShardError(f"{path} has a broken safetensors header") from None
    return set(header), 8 + length + max(ends, default=0)


def wrong_digests(directory: Path) -> tuple[int, list[tuple[str, str]]]:
    """How many files were compared with the digest they were published with, and what differs.

    Hub caches know it: Hugging Face names a blob, or writes a file's metadata, by its SHA-256.
    Else a ``SHA256SUMS`` beside the weights does. Reads every byte: minutes for a large model.

    Raises:
        InconclusiveError: nothing beside the weights tells a digest.
    """
    expected = dict(_expected_digests(directory))
    if not expected:
        raise InconclusiveError(
            f"nothing in {directory} says what digests to expect (no hub cache, no SHA256SUMS)"
        )
    wrong = []
    for name, digest in expected.items():
        with (directory / name).open("rb") as file:
            actual = _sha256(file)
        if actual != digest:
            wrong.append((f"{directory / name} has SHA-256 {actual}", digest))
    return len(expected), wrong


def _expected_digests(directory: Path) -> Iterator[tuple[str, str]]:
    sums = directory / "SHA256SUMS"
    listed: dict[str, str] = {}
    for line in sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else ():
        digest, _, name = line.partition(" ")
        # A star before the name is how sha256sum marks binary files.
        listed[name.strip().removeprefix("*")] = digest
    for path in sorted(directory.glob("*.safetensors")):
        metadata = directory / ".cache/huggingface/download" / f"{path.name}.metadata"
        lines = metadata.read_text(encoding="utf-8").split() if metadata.is_file() else []
        told = [listed.get(path.name, ""), *lines[1:2]]
        if path.is_symlink():
            told.append(path.resolve().name)
        for digest in told:
            if _SHA256.fullmatch(digest):
                yield path.name, digest
                break


def _sha256(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 22):
        digest.update(block)
    return digest.hexdigest()
