"""Pictures of evaluated items: kept small, by lm-eval's own digests, where the page looks."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pytest_qwenvl.engines.lm_eval_worker import LONGEST_SIDE, keep_pictures


def hashed(picture: Any) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_a_small_picture_is_kept_as_it_is(tmp_path: Path, mode: str) -> None:
    picture = Image.new(mode, (40, 30), 7)
    digest = keep_pictures(hashed, tmp_path / "pictures")(picture)
    assert digest == hashed(picture)
    with Image.open(tmp_path / "pictures" / f"{digest}.png") as kept:
        assert kept.size == (40, 30)
        assert kept.tobytes() == picture.convert("RGB").tobytes()


def test_a_large_picture_is_kept_smaller_and_stays_as_it_was(tmp_path: Path) -> None:
    picture = Image.new("RGB", (3000, 1000), "red")
    digest = keep_pictures(hashed, tmp_path / "pictures")(picture)
    assert picture.size == (3000, 1000)
    with Image.open(tmp_path / "pictures" / f"{digest}.jpg") as kept:
        assert max(kept.size) == LONGEST_SIDE


def test_what_cannot_be_kept_is_hashed_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("a file where the folder should be")
    picture = Image.new("RGB", (4, 4))
    assert keep_pictures(hashed, tmp_path / "pictures")(picture) == hashed(picture)
