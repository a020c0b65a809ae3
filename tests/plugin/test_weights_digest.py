from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pytest_qwenvl.weights_digest import weights_digest

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "sub/tokenizer.json": b"[]"}


def model(folder: Path, **changed: bytes) -> Path:
    for name, content in {**FILES, **changed}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_same_files_elsewhere_are_the_same_weights(tmp_path: Path) -> None:
    first, second = model(tmp_path / "a"), model(tmp_path / "b/c")
    (second / "README.md").write_text("another card")
    (second / ".gitattributes").write_text("x")
    assert weights_digest(first) == weights_digest(second)
    assert weights_digest(first).startswith("sha256:")


@pytest.mark.parametrize("name", FILES)
def test_any_changed_file_is_other_weights(name: str, tmp_path: Path) -> None:
    first = model(tmp_path / "a")
    second = model(tmp_path / "b")
    (second / name).write_bytes(b"other content")
    assert weights_digest(first) != weights_digest(second)
    third = model(tmp_path / "c")
    (third / name).rename(third / "renamed.json")
    assert weights_digest(first) != weights_digest(third)


def test_a_hub_cache_is_not_read_again(tmp_path: Path) -> None:
    plain = model(tmp_path / "plain")
    cached = model(tmp_path / "cached/snapshots/revision")
    blob = tmp_path / "cached/blobs" / hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    blob.parent.mkdir()
    (cached / "model.safetensors").unlink()
    # Its name vouches for it; content of the same size shows that nobody looked.
    blob.write_bytes(b"unread!")
    (cached / "model.safetensors").symlink_to(blob)
    assert weights_digest(cached) == weights_digest(plain)
