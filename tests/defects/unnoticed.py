"""Defects that were planted and that no requirement notices, with the reason."""

from __future__ import annotations

UNNOTICED = (
    "Pictures recompressed as JPEG of quality 1: the bank's pictures are drawn, with clear shapes "
    "and colours, and are answered right all the same. What is left of fine detail is judged by "
    "the accuracy group alone.",
)
