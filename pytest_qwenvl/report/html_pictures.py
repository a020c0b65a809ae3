"""Pictures of a report's own folder, looked at before they are shown.

A picture on the page is always one that this module decoded and drew anew, small: what a file
claims to be, what follows its pixels and what its metadata holds never reach the page.
"""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff", ".tif"})
LONGEST_SIDE = 240
"""Pixels: the most that a picture on the page has on either side."""

MOST_PIXELS = 16_000_000
"""Pictures of more are described, not decoded: a few kilobytes can unpack to gigabytes."""

MOST_FILE_BYTES = 30_000_000

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


class Picture(NamedTuple):
    """A picture to show, or the reason why it is not shown.

    Attributes:
        name: as the report has it.
        url: a ``data:`` URL of a drawing made here; empty where there is ``problem``.
        width, height: of the original, in pixels; 0 where unknown.
        shown_width, shown_height: of the drawing.
    """

    name: str
    url: str = ""
    width: int = 0
    height: int = 0
    shown_width: int = 0
    shown_height: int = 0
    problem: str = ""


def picture_of(name: str, root: Path | None) -> Picture:
    """The picture in the report's file ``name``, relative to the report's folder ``root``.

    Never raises: a file that is elsewhere, missing, too large or no picture is named with the
    reason.
    """
    if root is None:
        return Picture(name, problem="the report's folder is not at hand")
    try:
        path = (root / name).resolve()
        if not path.is_relative_to(root.resolve()):
            return Picture(name, problem="outside the report's folder")
        if not path.is_file():
            return Picture(name, problem="no longer in the report's folder")
        if path.stat().st_size > MOST_FILE_BYTES:
            return Picture(name, problem=f"a file of {path.stat().st_size:,} bytes")
        data = path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        return Picture(name, problem=f"cannot be read: {type(error).__name__}")
    return drawn(name, data)


def drawn(name: str, data: bytes) -> Picture:
    """The picture in ``data``, drawn anew as a small PNG or JPEG; never raises."""
    import PIL.Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes that are refused below.
            with PIL.Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    problem = f"{width} × {height} pixels: too many to unpack"
                    return Picture(name, width=width, height=height, problem=problem)
                image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
                if image.mode in ("RGB", "RGBA", "L"):
                    small: Image = image
                else:
                    see_through = image.mode in ("LA", "PA") or "transparency" in image.info
                    small = image.convert("RGBA" if see_through else "RGB")
                small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
                # Pasted, so that nothing but pixels comes along.
                bare = PIL.Image.new(small.mode, small.size)
                bare.paste(small)
                return Picture(name, _url(bare), width, height, *bare.size)
    except Exception as error:
        # Broken pictures are what some requirements are about: any decoder may raise anything.
        return Picture(name, problem=f"no picture that can be shown ({type(error).__name__})")


def _url(small: Image) -> str:
    png = io.BytesIO()
    small.save(png, "PNG", optimize=True)
    kind, data = "png", png.getvalue()
    if small.mode != "RGBA":
        jpeg = io.BytesIO()
        small.save(jpeg, "JPEG", quality=80)
        # Flat drawings stay exact; photographs would fill the page.
        if len(jpeg.getvalue()) < len(data) / 2:
            kind, data = "jpeg", jpeg.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
