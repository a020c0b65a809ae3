"""The nearest valid name to one that is none, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'name'?`` for the name nearest to ``word``; empty where none is near.

    A name that only goes on where ``word`` ends is nearer than any other.
    """
    names = list(known)
    near = sorted((name for name in names if word and name.startswith(word)), key=len)
    near = near or difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
