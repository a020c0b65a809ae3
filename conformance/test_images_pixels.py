"""Palettes, depths, alpha channels and orientations are resolved as a viewer resolves them."""

from __future__ import annotations

import pytest

from conformance.plain_twins import SHADES, check_like_plain
from fixtures.bank import encodings
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence

pytestmark = pytest.mark.images


@pytest.mark.requirement("QVL-PIC-010")
def test_palette(server: Endpoint, evidence: Evidence) -> None:
    """The colours of a palette are seen, not its indices."""
    check_like_plain(server, [encodings.palette_png], evidence)


@pytest.mark.requirement("QVL-PIC-011")
def test_greyscale(server: Endpoint, evidence: Evidence) -> None:
    """One channel is seen as three equal ones."""
    check_like_plain(server, [encodings.grey_png, encodings.grey_jpeg], evidence, items=SHADES)


@pytest.mark.requirement("QVL-PIC-012")
def test_one_bit(server: Endpoint, evidence: Evidence) -> None:
    """One bit a pixel is seen as black and white."""
    check_like_plain(server, [encodings.one_bit_png], evidence, items=SHADES)


@pytest.mark.requirement("QVL-PIC-013")
def test_sixteen_bits(server: Endpoint, evidence: Evidence) -> None:
    """Sixteen bits a channel are seen as their upper eight."""
    check_like_plain(server, [encodings.deep_png], evidence)


@pytest.mark.requirement("QVL-PIC-014")
def test_cmyk(server: Endpoint, evidence: Evidence) -> None:
    """The inks of a CMYK JPEG are seen as the colours they print."""
    check_like_plain(server, [encodings.cmyk_jpeg], evidence)


@pytest.mark.requirement("QVL-PIC-015")
def test_opaque_alpha(server: Endpoint, evidence: Evidence) -> None:
    """An alpha channel that hides nothing changes nothing."""
    check_like_plain(server, [encodings.opaque_png], evidence)


@pytest.mark.requirement("QVL-PIC-016")
def test_transparency(server: Endpoint, evidence: Evidence) -> None:
    """What is transparent is not seen."""
    check_like_plain(server, [encodings.transparent_png], evidence, items=SHADES)


@pytest.mark.requirement("QVL-PIC-017")
def test_transparent_palette(server: Endpoint, evidence: Evidence) -> None:
    """What a palette declares transparent is not seen."""
    check_like_plain(server, [encodings.transparent_palette_png], evidence, items=SHADES)


@pytest.mark.requirement("QVL-PIC-018")
def test_orientation(server: Endpoint, evidence: Evidence) -> None:
    """A picture is seen upright, as its EXIF orientation says."""
    check_like_plain(server, [encodings.turned_png, encodings.turned_jpeg], evidence)
