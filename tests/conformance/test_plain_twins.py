from __future__ import annotations

import pytest
from PIL import Image, ImageOps

from conformance.plain_twins import COLOURS, SHADES, check_like_plain, telling_items
from fixtures.bank import encodings
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.outcomes import Evidence
from tests.conformance.played_viewers import Viewer, as_a_viewer

FILES = (
    *("jpeg", "progressive_jpeg", "lossless_webp", "lossy_webp", "gif", "animated_gif", "bmp"),
    *("tiff", "interlaced_png", "palette_png", "deep_png", "cmyk_jpeg", "opaque_png"),
    *("turned_png", "turned_jpeg"),
)
IN_SHADES = (
    *("grey_png", "grey_jpeg", "one_bit_png", "transparent_png", "transparent_palette_png"),
)


def _as_grey(image):
    return Image.frombytes("L", image.size, image.tobytes())


def _swapped(image):
    red, green, blue = as_a_viewer(image).split()
    return Image.merge("RGB", (blue, green, red))


def _last_frame(image):
    image.seek(getattr(image, "n_frames", 1) - 1)
    return image


def _flipped(image):
    return ImageOps.flip(as_a_viewer(image))


# What a careless reader makes of a file that a viewer reads right.
FAULTS = {
    "ignores the orientation": ("turned_png", lambda image: image.convert("RGB")),
    "drops the alpha channel": (
        "transparent_png",
        lambda image: image.convert("RGB") if image.mode == "RGBA" else as_a_viewer(image),
    ),
    "takes indices for grey": (
        "palette_png",
        lambda image: (
            image.copy().convert("RGB") if image.mode != "P" else as_a_viewer(_as_grey(image))
        ),
    ),
    "swaps channels of JPEG": (
        "jpeg",
        lambda image: _swapped(image) if image.format == "JPEG" else as_a_viewer(image),
    ),
    "shows the last frame": ("animated_gif", lambda image: as_a_viewer(_last_frame(image))),
    "upside down": (
        "bmp",
        lambda image: _flipped(image) if image.format == "BMP" else as_a_viewer(image),
    ),
}


def viewer(name, items, **how):
    encode = getattr(encodings, name)
    return Viewer(items, [lambda image: encode(image).plain], **how)


@pytest.mark.parametrize("name", [*FILES, *IN_SHADES])
def test_a_right_reader_passes(name):
    items = SHADES if name in IN_SHADES else COLOURS
    evidence = Evidence()
    check_like_plain(viewer(name, items), [getattr(encodings, name)], evidence, items=items)
    assert len(evidence.values["answers"]) == len(items)


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_careless_reader_fails(fault):
    name, look = FAULTS[fault]
    items = SHADES if name in IN_SHADES else COLOURS
    server = viewer(name, items, look=look)
    with pytest.raises(AssertionError, match=f"{name}, "):
        check_like_plain(server, [getattr(encodings, name)], Evidence(), items=items)


def test_other_words_are_no_fault():
    # Every second answer is wordy, so a file and its plain twin get different words.
    said = iter(range(1000))

    def say(answer):
        return answer if next(said) % 2 else f"It is **{answer.lower()}**."

    check_like_plain(viewer("bmp", COLOURS, say=say), [encodings.bmp], Evidence())


@pytest.mark.parametrize("answer", ["Red", "I do not know.", "Left", "Circle"])
def test_one_answer_to_everything_decides_nothing(answer):
    server = viewer("bmp", COLOURS, say=lambda _: answer)
    with pytest.raises(InconclusiveError, match="plain pictures were answered right"):
        check_like_plain(server, [encodings.bmp], Evidence())


def test_an_empty_answer_fails():
    with pytest.raises(AssertionError, match="expected a text answer"):
        check_like_plain(viewer("bmp", COLOURS, say=lambda _: " "), [encodings.bmp], Evidence())


def test_questions_differ_in_their_answers():
    for ability in ("position", "shape", "colour"):
        items = telling_items(ability)
        assert len(items) == len({item.answer for item in items}) == 3
