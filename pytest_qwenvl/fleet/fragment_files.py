"""A fragment: the report folder of one child pytest, as one archive that says what it is.

Its first member, ``fragment.json``, names the fleet's run, the deployment, the attempt and every
file with its digest. A node packs it; the head believes nothing of it that it has not checked.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pytest_qwenvl.errors import QwenVLError

MANIFEST = "fragment.json"
_PIECE = 1 << 22  # bytes sent at once
_COMPRESSION = 3  # logs and JSON; more costs the node time and saves little
_CHUNK = 1 << 20


class FragmentProblem(QwenVLError):
    """A fragment that cannot be taken, and why."""


class Manifest(BaseModel):
    """What a fragment says it is.

    Attributes:
        files: sha256 (hex) of each, by its name relative to the report folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    fleet: str
    model: str
    deployment: str
    number: int
    suite_digest: str
    files: dict[str, str]


def pack(folder: Path, manifest: Manifest) -> Iterator[bytes]:
    """The archive of a folder, in pieces; nothing is written to the disk, which may be full.

    Args:
        manifest: with no files yet; they are read here.

    Raises:
        OSError: a file cannot be read.
    """
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
    files = {name: file_digest(folder / name) for name in names}
    text = manifest.model_copy(update={"files": files}).model_dump_json(indent=1).encode()
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=_COMPRESSION) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        head = tarfile.TarInfo(MANIFEST)
        head.size = len(text)
        archive.addfile(head, io.BytesIO(text))
        for name in names:
            archive.add(folder / name, arcname=name, recursive=False)
            if buffer.tell() >= _PIECE:
                yield from _pieces(buffer)
    yield from _pieces(buffer)


def unpack(archive: Path, folder: Path) -> Manifest:
    """Unpack an archive into an empty folder, and check every file of it.

    Raises:
        FragmentProblem: it is cut off, names files outside of the folder, or its files are not
            those of its manifest.
        OSError: the folder cannot be written.
    """
    try:
        with tarfile.open(archive, mode="r|gz") as members:
            return _unpack(members, folder)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise FragmentProblem(f"its archive cannot be read ({error}): cut off or damaged") from None


def check_files(folder: Path) -> Manifest:
    """The manifest of a fragment that was unpacked before, its files checked anew.

    Raises:
        FragmentProblem: it is no fragment, or a file is missing or not what it was.
    """
    try:
        manifest = _manifest((folder / MANIFEST).read_bytes())
        for name, digest in manifest.files.items():
            if file_digest(folder / name) != digest:
                raise FragmentProblem(f"{name} is not what it was when it arrived")
    except OSError as error:
        raise FragmentProblem(f"{error.filename}: {error.strerror or error}") from None
    return manifest


def file_digest(path: Path) -> str:
    """The sha256 (hex) of a file; raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _pieces(buffer: io.BytesIO) -> Iterator[bytes]:
    data = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


def _unpack(members: tarfile.TarFile, folder: Path) -> Manifest:
    first = members.next()
    content = members.extractfile(first) if first is not None and first.isfile() else None
    if first is None or first.name != MANIFEST or content is None:
        raise FragmentProblem(f"its archive does not begin with {MANIFEST}")
    text = content.read()
    manifest = _manifest(text)
    left = dict(manifest.files)
    folder.mkdir(parents=True, exist_ok=True)
    while (member := members.next()) is not None:
        content = members.extractfile(member) if member.isfile() else None
        expected = left.pop(member.name, None)
        path = PurePosixPath(member.name)
        if content is None or expected is None or path.is_absolute() or ".." in path.parts:
            raise FragmentProblem(f"its archive holds {member.name!r}, which its manifest does not")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if _copy(content, target) != expected:
            raise FragmentProblem(f"{member.name} is not what the node packed")
    if left:
        raise FragmentProblem(f"its archive lacks {', '.join(sorted(left)[:3])}: cut off")
    (folder / MANIFEST).write_bytes(text)
    return manifest


def _manifest(text: bytes) -> Manifest:
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise FragmentProblem(
            f"its {MANIFEST} cannot be read: {error.errors()[0]['msg']}"
        ) from None


def _copy(content: IO[bytes], target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("wb") as file:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()
