"""Text of others made fit for a page: bounded, visible, and unable to reorder what is around it.

A report holds what models, servers and engines wrote. Escaping keeps it from being markup; this
module keeps it from lying in other ways, with control characters, terminal colours, and marks that
make right-to-left text of what follows.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

LONGEST_TEXT = 20_000
"""Characters of any one text on the page; what is beyond is in ``report.json``."""

_MOST_MEMBERS = 12
_DEEPEST = 6
_LONGEST_LINE = 100

# Colours and cursor movements of a terminal, and the titles it sets.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
# What HTML cannot hold, what hides, and what changes the direction of text; line breaks are kept.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f\ud800-\udfff]"
)


def clean(text: str, longest: int = LONGEST_TEXT) -> str:
    """``text`` as a person can see all of it, cut after ``longest`` characters.

    Terminal colours are dropped. Every other character that is invisible, forbidden in HTML, or
    changes the direction of the text around it is written out, ``⟨U+202E⟩``; control characters as
    their pictures, ``␀``.
    """
    left_out = len(text) - longest
    if left_out > 0:
        text = text[:longest]
    text = _TERMINAL.sub("", text.replace("\r\n", "\n"))
    text = _INVISIBLE.sub(_written_out, text)
    return f"{text}… ({left_out:,} more characters)" if left_out > 0 else text


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"⟨U+{code:04X}⟩"


def value_text(value: Any, longest: int) -> str:
    """A value of the evidence as a person reads it: text as it is, the rest as short JSON.

    A member a line where one line does not hold it. Long lists keep their beginning and say how
    many members they have, numbers six digits; the result has about ``longest`` characters at most.
    """
    if isinstance(value, str):
        return clean(value, longest)
    shown = _shortened(value, longest, 0)
    flat = _flat(shown)
    if len(flat) > _LONGEST_LINE and isinstance(shown, list):
        flat = "\n".join(map(_flat, shown))
    elif len(flat) > _LONGEST_LINE and isinstance(shown, dict):
        flat = "\n".join(f"{key}: {_flat(its)}" for key, its in shown.items())
    return clean(flat, longest)


def _flat(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shortened(value: Any, longest: int, depth: int) -> Any:
    # The members beyond the first dozen are not even looked at: an item's list can be long.
    if isinstance(value, str):
        return value if len(value) <= longest else f"{value[:longest]}… ({len(value):,} characters)"
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.6g}")
    if not isinstance(value, (dict, list)):
        return value
    if depth >= _DEEPEST:
        return "…"
    if isinstance(value, dict):
        kept = {
            str(key)[:200]: _shortened(its, longest, depth + 1)
            for key, its in list(value.items())[: 4 * _MOST_MEMBERS]
        }
        if len(value) > 4 * _MOST_MEMBERS:
            kept["…"] = f"{len(value):,} entries in all"
        return kept
    kept_list = [_shortened(its, longest, depth + 1) for its in value[:_MOST_MEMBERS]]
    if len(value) > _MOST_MEMBERS:
        kept_list.append(f"… {len(value):,} in all")
    return kept_list
