"""One result's evidence as the page shows it: within an allowance, and saying what is left out.

A page of thousands of results must stay small enough to send, so what did not pass gets most of the
room, and what passed its numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pytest_qwenvl.report.html_pictures import PICTURE_SUFFIXES, Picture, picture_of
from pytest_qwenvl.report.html_text import clean, value_text
from pytest_qwenvl.report.results import ExchangeRecord, Outcome, Result

ROOM_FOR_TROUBLE = 1_300_000
"""Characters that all results that did not pass share, but for their pictures."""

ROOM_FOR_PASSED = 900_000
"""Characters that all results that passed share."""

ROOM_FOR_PICTURES = 900_000
"""Characters of ``data:`` URLs on a whole page."""

_MOST_FOR_TROUBLE = 24_000
_MOST_FOR_PASSED = 1_600
_FEWEST = 60  # characters: a value cut shorter than this says nothing.
_LONGEST_KEY = 60
_DRAWN = frozenset({"measurement", "baseline_measurement"})
_DIGEST = re.compile(r"[0-9a-f]{16,128}")


class ShownExchange(NamedTuple):
    """A request and its answer."""

    curl: str
    response: str
    status: int | None
    when: str
    pictures: tuple[Picture, ...]
    files: tuple[str, ...]


class ShownResult(NamedTuple):
    """A result with as much of its evidence as there is room for.

    Attributes:
        measured: names and values of the evidence.
        when: start, in UTC; ``took``: seconds, those of its fixtures in ``setup``.
        carried_over: the earlier run that found it; empty for this one.
        shortened: whether ``report.json`` has more than is shown.
    """

    outcome: str
    reason: str
    waiver: str
    measured: tuple[tuple[str, str], ...]
    exchanges: tuple[ShownExchange, ...]
    log: str
    reproduce: str
    test: str
    when: str
    took: float
    setup: float
    worker: str
    carried_over: str
    shortened: bool


class EvidenceReader:
    """Shows results, one after the other, within what the page can hold.

    Args:
        results: all that will be shown; how many there are decides what each gets.
        root: the report's folder, for pictures of requests; None where it is not at hand.
        share: of the room that there is, how much may be used.
    """

    def __init__(self, results: Sequence[Result], root: Path | None, share: float = 1.0) -> None:
        passed = sum(result.outcome is Outcome.PASS for result in results)
        trouble = len(results) - passed
        of_passed = ROOM_FOR_PASSED / max(passed, 1)
        of_trouble = ROOM_FOR_TROUBLE / max(trouble, 1)
        self._for_passed = int(share * min(_MOST_FOR_PASSED, of_passed))
        self._for_trouble = int(share * min(_MOST_FOR_TROUBLE, of_trouble))
        self._pictures_left = int(share * ROOM_FOR_PICTURES)
        self._root = root
        self._known: dict[str, Picture] = {}

    def show(self, result: Result) -> ShownResult:
        """``result`` with its share of the room."""
        room = self._for_passed if result.outcome is Outcome.PASS else self._for_trouble
        left = [room]
        before = _size(result)
        reason = _take(left, result.reason, room // 3)
        exchanges = tuple(
            self._exchange(exchange, left, room // 6) for exchange in result.exchanges
        )
        log = _take_end(left, result.log, room // 4)
        measured = []
        for key, value in result.evidence.items():
            if key in _DRAWN and isinstance(value, dict):
                # Hundreds of rows, which the plots show.
                measured.append(
                    (key, f"{value.get('kind')} {value.get('name')}, whole in report.json")
                )
                continue
            if left[0] < _FEWEST:
                break
            text = value_text(value, max(_FEWEST, min(left[0], room // 3)))
            measured.append((clean(key, _LONGEST_KEY), text))
            left[0] -= len(text) + len(key)
        shortened = len(measured) < len(result.evidence) or before > room
        return ShownResult(
            result.outcome.value,
            reason,
            clean(result.waiver, 1000),
            tuple(measured),
            exchanges,
            log,
            clean(result.reproduce, 1000),
            clean(result.test, 1000),
            moment(result.started),
            result.duration,
            result.setup,
            clean(result.worker, 60),
            clean(result.carried_over.run_id, 60) if result.carried_over else "",
            shortened,
        )

    def picture(self, name: str) -> Picture:
        """The picture of that name in the report's folder, while there is room for pictures."""
        if name not in self._known:
            if self._pictures_left <= 0:
                return Picture(name, problem="the page has enough pictures")
            self._known[name] = picture_of(name, self._root)
        known = self._known[name]
        # Counted each time: the page holds a copy wherever it shows one.
        self._pictures_left -= len(known.url)
        return known

    def item_picture(self, digest: str, folder: str) -> Picture:
        """The picture of an evaluated item, which ``folder`` of the report has by its digest."""
        if _DIGEST.fullmatch(digest):
            for suffix in (".png", ".jpg"):
                picture = self.picture(f"{folder}/{digest}{suffix}")
                if picture.url:
                    return picture._replace(name=digest[:12])
        return Picture(digest[:12], problem="not kept in the report's folder")

    def _exchange(self, exchange: ExchangeRecord, left: list[int], room: int) -> ShownExchange:
        names = [name for name in exchange.files if _is_picture(name)]
        return ShownExchange(
            _take(left, exchange.curl, max(room, 400)),
            _take(left, exchange.response, room),
            exchange.status,
            moment(exchange.started),
            tuple(self.picture(name) for name in names[:6]),
            tuple(clean(name, 300) for name in exchange.files[:24]),
        )


def moment(seconds: float) -> str:
    """Seconds since the epoch as UTC, to the second; empty for none, and for no time at all."""
    try:
        when = datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return ""
    return when.strftime("%Y-%m-%d %H:%M:%S UTC") if seconds > 0 else ""


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES


def _take(left: list[int], text: str, most: int) -> str:
    shown = clean(text, max(0, min(left[0], most))) if text else ""
    left[0] -= len(shown)
    return shown


def _take_end(left: list[int], text: str, most: int) -> str:
    """The end of a log, which says more than its beginning."""
    room = max(0, min(left[0], most))
    kept = text[-room:] if room else ""
    if len(kept) < len(text):
        kept = f"… ({len(text) - len(kept):,} characters before)\n{kept}"
    shown = clean(kept)
    left[0] -= len(shown)
    return shown


def _size(result: Result) -> int:
    return (
        len(result.reason)
        + len(result.log)
        + sum(len(exchange.curl) + len(exchange.response) for exchange in result.exchanges)
    )
