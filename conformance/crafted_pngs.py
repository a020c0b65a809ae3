"""PNG files made byte by byte: of any claimed size, and larger unpacked than packed."""

from __future__ import annotations

import struct
import zlib

from fixtures.bank import Picture, render_png

SMALL_PNG = render_png(Picture(64, 64, (200, 30, 30), ()))
_BEHIND_HEADER = 33  # where the first chunk after IHDR begins: signature, length, IHDR, checksum


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png_of_one_colour(side: int) -> bytes:
    """A black PNG of ``side`` by ``side`` pixels, one bit each: a few kilobytes at any size."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG whose header says that it is of another size."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return SMALL_PNG[:8] + header + SMALL_PNG[_BEHIND_HEADER:]


def png_with_long_comment(length: int) -> bytes:
    """A small PNG with a compressed comment that unpacks to ``length`` bytes."""
    comment = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"A" * length, 9))
    return SMALL_PNG[:_BEHIND_HEADER] + comment + SMALL_PNG[_BEHIND_HEADER:]
