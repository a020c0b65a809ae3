"""Judging what a server makes of a file by what it makes of the same picture as a plain PNG.

Both are asked in one run, so that what is judged is the reading of the file and not how well the
model understands pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from conformance.asking import chat, question_of, text_of
from conformance.picture_requests import picture, shown, together
from fixtures.bank import Item, generate
from fixtures.bank.encodings import Encoded, Encoder, png
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.outcomes import Evidence

Part = Callable[[Encoded], dict[str, Any]]

_EACH = 3


def _is_coloured(item: Item) -> bool:
    # A black shape on a light ground is what it is in any rendering.
    return not any(getattr(it, "colour", "") == "black" for it in item.pictures[0].drawing)


def telling_items(*abilities: str) -> list[Item]:
    """Questions whose answers differ, so that one answer to all of them is mostly wrong."""
    items: list[Item] = []
    for ability in abilities:
        answers: set[str] = set()
        for item in generate(ability, 8 * _EACH, seed=3):
            if item.answer not in answers and len(answers) < _EACH and _is_coloured(item):
                answers.add(item.answer)
                items.append(item)
    return items


#: Shapes and positions stay what they are in a picture without colours.
SHADES: tuple[Item, ...] = tuple(telling_items("position", "shape"))
COLOURS: tuple[Item, ...] = tuple(telling_items("position", "shape", "colour"))


def check_like_plain(
    server: Endpoint,
    encoders: Sequence[Encoder],
    evidence: Evidence,
    *,
    items: Sequence[Item] = COLOURS,
    part: Part = lambda file: picture(file.url()),
) -> None:
    """Assert that pictures written by ``encoders`` are answered as their plain twins are.

    An answer is the twin's when it is word for word the same, or when both are right in other
    words. A server that answers the twins wrong for the most part shows nothing of its reading.

    Args:
        part: the content part that carries a file.

    Raises:
        InconclusiveError: most plain twins are answered wrong.
    """
    cases = [(encode, item) for encode in encoders for item in items]

    def ask(case: tuple[Encoder, Item]) -> tuple[str, str]:
        encode, item = case
        file = encode(item.pictures[0].image())
        plain = picture(png(file.plain).url())
        return (
            text_of(chat(server, shown(item, [part(file)]))),
            text_of(chat(server, shown(item, [plain]))),
        )

    different = []
    understood = 0
    for (encode, item), (seen, twin) in zip(cases, together(ask, cases), strict=True):
        right = item.accepts(twin)
        understood += right
        evidence.append(
            "answers",
            {
                "file": encode.__name__,
                "item": item.id,
                "expected": item.answer,
                "plain": twin,
                "seen": seen,
            },
        )
        if seen != twin and not (right and item.accepts(seen)):
            different.append(
                f"  {encode.__name__}, {item.id}: {question_of(item)!r}: "
                f"plain PNG {twin!r}, seen {seen!r}"
            )
    require_understood(understood, len(cases))
    assert not different, (
        f"expected the answers to the plain RGB pictures, {len(different)} of {len(cases)} "
        "differ:\n" + "\n".join(different[:5])
    )


def require_understood(right: int, asked: int) -> None:
    """End the test as undecided where plain pictures are mostly answered wrong.

    Raises:
        InconclusiveError: fewer than half of the answers are right.
    """
    if 2 * right < asked:
        raise InconclusiveError(
            f"only {right} of {asked} plain pictures were answered right, so equal answers show "
            "nothing; see QVL-SRV-006, which judges the understanding itself"
        )
