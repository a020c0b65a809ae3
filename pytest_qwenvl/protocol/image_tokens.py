"""How many prompt tokens an image costs, from its size and the processor's constants (pure).

Qwen-VL processors resize an image to whole blocks of ``patch_size * merge_size`` pixels within an
area bound, and spend one prompt token a block. That makes ``usage.prompt_tokens`` exactly
predictable, which is the sharpest cheap check of a multimodal server: a difference means other
processor settings, another processor version, or an image that never reached the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

MAXIMUM_ASPECT_RATIO = 200
"""Longer side over shorter side above which the processors refuse an image."""

TOKENS_AROUND_IMAGE = 2
"""Vision start and vision end, one token each, around the tokens of every image."""


class PictureConstants(Protocol):
    """The four numbers of an image processor; a profile brings them."""

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""

    @property
    def merge_size(self) -> int:
        """How many patches by side make one token."""

    @property
    def min_pixels(self) -> int:
        """Smaller pictures are enlarged to this."""

    @property
    def max_pixels(self) -> int:
        """Larger pictures are reduced to this."""


def smart_resize(
    height: int, width: int, *, factor: int, min_pixels: int, max_pixels: int
) -> tuple[int, int]:
    """The ``(height, width)`` in pixels that a Qwen-VL processor resizes an image to.

    Both sides become multiples of ``factor``, rounded to the nearest with ties to even (Python's
    ``round``, which the processors use: 336/32 gives 10, not 11); then the area is brought within
    ``min_pixels`` and ``max_pixels`` while the aspect ratio is kept as nearly as blocks allow.

    Raises:
        ValueError: a side below 1 pixel, or an aspect ratio above 200 to 1, as the processors do.
    """
    if height < 1 or width < 1:
        raise ValueError(f"an image of {width}x{height} pixels: both sides must be at least 1")
    if max(height, width) / min(height, width) > MAXIMUM_ASPECT_RATIO:
        raise ValueError(
            f"an image of {width}x{height} pixels: the longer side may be at most "
            f"{MAXIMUM_ASPECT_RATIO} times the shorter one"
        )
    new_height = round(height / factor) * factor
    new_width = round(width / factor) * factor
    if new_height * new_width > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        new_height = max(factor, math.floor(height / shrink / factor) * factor)
        new_width = max(factor, math.floor(width / shrink / factor) * factor)
    elif new_height * new_width < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        new_height = math.ceil(height * grow / factor) * factor
        new_width = math.ceil(width * grow / factor) * factor
    return new_height, new_width


def resized(width: int, height: int, constants: PictureConstants) -> tuple[int, int]:
    """The ``(width, height)`` in pixels of an image after the processor of this family.

    Raises:
        ValueError: a size the processor refuses (see :func:`smart_resize`).
    """
    new_height, new_width = smart_resize(
        height,
        width,
        factor=constants.patch_size * constants.merge_size,
        min_pixels=constants.min_pixels,
        max_pixels=constants.max_pixels,
    )
    return new_width, new_height


def image_tokens(width: int, height: int, constants: PictureConstants) -> int:
    """Prompt tokens of one image of ``width`` x ``height`` pixels, vision start and end excluded.

    Raises:
        ValueError: a size the processor refuses (see :func:`smart_resize`).
    """
    new_width, new_height = resized(width, height, constants)
    factor = constants.patch_size * constants.merge_size
    return (new_width // factor) * (new_height // factor)


def prompt_tokens_of_images(sizes: Iterable[tuple[int, int]], constants: PictureConstants) -> int:
    """Prompt tokens that images add to a prompt, vision start and end of each included.

    This is the difference of ``usage.prompt_tokens`` between a request with these images and the
    same request without them, so the chat template and the text cancel out.

    Args:
        sizes: ``(width, height)`` in pixels, one an image.
        constants: of the model's family.

    Raises:
        ValueError: a size the processor refuses (see :func:`smart_resize`).
    """
    return sum(
        image_tokens(width, height, constants) + TOKENS_AROUND_IMAGE for width, height in sizes
    )
