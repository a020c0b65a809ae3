"""Prompt tokens of images: the published table, the tutorial's anchor, and properties."""

from __future__ import annotations

import random

import pytest

from pytest_qwenvl.profile import ImageConstants
from pytest_qwenvl.protocol.image_tokens import (
    image_tokens,
    prompt_tokens_of_images,
    resized,
    smart_resize,
)

QWEN25 = ImageConstants(
    patch_size=14, merge_size=2, min_pixels=3136, max_pixels=12_845_056,
    tutorial_text_tokens=29, source="Qwen2.5-VL preprocessor_config.json",
)  # fmt: skip
QWEN3 = ImageConstants(
    patch_size=16, merge_size=2, min_pixels=65_536, max_pixels=16_777_216,
    tutorial_text_tokens=29, source="Qwen3-VL preprocessor_config.json",
)  # fmt: skip

TABLE = [
    # width, height, then width, height and tokens of Qwen2.5-VL and of Qwen3-VL
    ((1, 1), (56, 56), 4, (256, 256), 64),
    ((28, 28), (56, 56), 4, (256, 256), 64),
    ((64, 64), (56, 56), 4, (256, 256), 64),
    ((224, 224), (224, 224), 64, (256, 256), 64),
    ((256, 256), (252, 252), 81, (256, 256), 64),
    ((336, 336), (336, 336), 144, (320, 320), 100),
    ((448, 448), (448, 448), 256, (448, 448), 196),
    ((512, 512), (504, 504), 324, (512, 512), 256),
    ((640, 480), (644, 476), 391, (640, 480), 300),
    ((1024, 768), (1036, 756), 999, (1024, 768), 768),
    ((1280, 720), (1288, 728), 1196, (1280, 704), 880),
    ((1920, 1080), (1932, 1092), 2691, (1920, 1088), 2040),
    ((3840, 2160), (3836, 2156), 10549, (3840, 2176), 8160),
    ((4096, 4096), (3584, 3584), 16384, (4096, 4096), 16384),
    ((5000, 5000), (3556, 3556), 16129, (4096, 4096), 16384),
    ((10, 2000), (28, 812), 29, (32, 3648), 114),
    ((297, 117), (308, 112), 44, (416, 192), 78),
]


@pytest.mark.parametrize(("size", "size25", "tokens25", "size3", "tokens3"), TABLE)
def test_published_sizes(
    size: tuple[int, int],
    size25: tuple[int, int],
    tokens25: int,
    size3: tuple[int, int],
    tokens3: int,
) -> None:
    assert resized(*size, QWEN25) == size25
    assert image_tokens(*size, QWEN25) == tokens25
    assert resized(*size, QWEN3) == size3
    assert image_tokens(*size, QWEN3) == tokens3


def test_tutorial_prompt_tokens() -> None:
    # The tutorial prints 107 for Qwen3-VL and 73 for Qwen2.5-VL; 29 count vision start and end.
    text = 29 - 2
    assert text + prompt_tokens_of_images([(297, 117)], QWEN3) == 107
    assert text + prompt_tokens_of_images([(297, 117)], QWEN25) == 73


def test_images_add_up() -> None:
    assert prompt_tokens_of_images([], QWEN3) == 0
    assert prompt_tokens_of_images([(64, 64), (640, 480)], QWEN3) == 64 + 2 + 300 + 2


def test_ties_round_to_even() -> None:
    # 336 / 32 is 10.5: rounding half up would give 11 blocks, 352 pixels.
    assert smart_resize(336, 336, factor=32, min_pixels=1, max_pixels=10**9) == (320, 320)
    assert smart_resize(368, 368, factor=32, min_pixels=1, max_pixels=10**9) == (384, 384)


@pytest.mark.parametrize("size", [(10, 2001), (2001, 10), (1, 201)])
def test_extreme_ratio_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="200 times"):
        image_tokens(*size, QWEN25)


@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_impossible_size_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        image_tokens(*size, QWEN25)


@pytest.mark.parametrize("constants", [QWEN25, QWEN3], ids=["qwen2.5-vl", "qwen3-vl"])
def test_sizes_are_whole_blocks_within_bounds(constants: ImageConstants) -> None:
    generator = random.Random(20_260)
    factor = constants.patch_size * constants.merge_size
    for _ in range(2000):
        width, height = generator.randint(1, 6000), generator.randint(1, 6000)
        if max(width, height) / min(width, height) > 200:
            continue
        new_width, new_height = resized(width, height, constants)
        assert new_width % factor == new_height % factor == 0
        assert constants.min_pixels <= new_width * new_height <= constants.max_pixels
        assert resized(height, width, constants) == (new_height, new_width)
