"""Defects that were planted and that no requirement notices, with the reason."""

from __future__ import annotations

UNNOTICED = (
    "Pictures recompressed as JPEG of quality 1: the bank's pictures are drawn, with clear shapes "
    "and colours, and are answered right all the same. What is left of fine detail is judged by "
    "the accuracy group alone.",
    "A clip of which the first frame is seen throughout: the reference checkpoint was not taught "
    "to see anything move, so that no question tells; VID-004 and VID-005 look at frames that are "
    "alike, and at their number.",
    "Each request worked on twice: an attached server seems to have another client then, and "
    "QVL-SRV-014 is INCONCLUSIVE, which says so.",
    "Blanks stripped off the ends of texts: chat templates of some models do so themselves.",
)
