"""Only what was decoded here is shown, small; everything else is named with the reason."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pytest_qwenvl.report.html_pictures import LONGEST_SIDE, drawn, picture_of
from tests.report.pages import png


def shown(url: str) -> bytes:
    head, _, data = url.partition(";base64,")
    assert head in ("data:image/png", "data:image/jpeg")
    return base64.b64decode(data)


def test_a_picture_is_drawn_anew_without_what_came_with_it():
    file = io.BytesIO()
    text = PngInfo()
    text.add_text("Comment", "<script>pwned()</script>")
    Image.new("RGB", (1000, 500), "red").save(file, "PNG", pnginfo=text)
    picture = drawn("a.png", file.getvalue() + b"<script>pwned()</script>")
    assert (picture.width, picture.height, picture.problem) == (1000, 500, "")
    data = shown(picture.url)
    assert b"pwned" not in data
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (LONGEST_SIDE, LONGEST_SIDE // 2)
        assert image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [(mode, "PNG") for mode in ("1", "L", "LA", "P", "I;16", "RGBA", "RGB")]
    + [("CMYK", "TIFF"), ("CMYK", "JPEG"), ("F", "TIFF"), ("P", "GIF"), ("RGB", "WEBP")],
)
def test_every_kind_of_pixels_is_shown(mode, kind):
    file = io.BytesIO()
    Image.new(mode, (30, 20)).save(file, kind)
    picture = drawn("a", file.getvalue())
    assert picture.problem == ""
    with Image.open(io.BytesIO(shown(picture.url))) as image:
        image.load()
        assert image.size == (30, 20)


def test_a_photograph_takes_little_room():
    noise = Image.effect_noise((600, 600), 80)
    file = io.BytesIO()
    noise.save(file, "PNG")
    picture = drawn("a", file.getvalue())
    assert picture.url.startswith("data:image/jpeg;base64,")
    assert len(picture.url) < 60_000


def bomb() -> bytes:
    """A PNG of a few bytes that claims 100 million pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no picture that can be shown (UnidentifiedImageError)"),
        (b"<svg onload='pwned()' xmlns='http://www.w3.org/2000/svg'/>", "UnidentifiedImageError"),
        (b"%PDF-1.4", "UnidentifiedImageError"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 100, "no picture that can be shown"),
        (png()[:60], "no picture that can be shown"),
        (bomb(), "10000 × 10000 pixels: too many to unpack"),
    ],
)
def test_what_is_no_picture_is_not_shown(data, problem):
    picture = drawn("a.png", data)
    assert picture.url == ""
    assert problem in picture.problem


def test_only_files_of_the_report_s_folder_are_read(tmp_path: Path):
    root = tmp_path / "report"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(png())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "folder.png").mkdir()
    (root / "own.png").write_bytes(png())
    assert picture_of("own.png", root).url
    for name in ("../secret.png", str(tmp_path / "secret.png"), "link.png"):
        assert picture_of(name, root).problem == "outside the report's folder", name
    for name in ("missing.png", "folder.png"):
        assert picture_of(name, root).problem == "no longer in the report's folder"
    for name in ("nul\x00.png", "x" * 5000 + ".png"):
        assert picture_of(name, root).problem.startswith("cannot be read"), name
    assert picture_of("own.png", None).problem == "the report's folder is not at hand"
