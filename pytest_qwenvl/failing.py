"""What is kept of a test that failed: its requests, and what the engine logged at that moment."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from pytest_qwenvl.collection import planned_of
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.engines.exchanges import Exchange
from pytest_qwenvl.outcomes import engine_of
from pytest_qwenvl.report.exchange import in_question, save_exchanges
from pytest_qwenvl.report.results import Outcome, Result

_BEFORE = pytest.StashKey[int]()
_LOG_LINES = 40
_LONGEST_NAME = 60  # characters of a folder's name
_FOLDER = "evidence"
_REQUIREMENT_FOLDER = "QVL-*-[0-9][0-9][0-9]"
_TOLD = (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.WAIVED)


def note_start(item: pytest.Item) -> None:
    """Before a test's fixtures: what was asked until now was not asked by it."""
    item.stash[_BEFORE] = Endpoint.journal.last


def with_exchanges(item: pytest.Item, result: Result, root: Path, secrets: list[str]) -> Result:
    """``result`` with the requests it is about, saved below ``root``, the report's directory.

    They are those that the test sent; where its reason quotes none of them, those that tests
    before it sent to the same server and that are quoted count too.
    """
    if result.outcome not in _TOLD:
        return result
    before = item.stash.get(_BEFORE, 0)
    kept = Endpoint.journal.since(0)
    server = engine_of(item)
    chosen = in_question(
        [it for it in kept if it.number > before],
        [it for it in kept if it.number <= before and it.endpoint is server],
        result.reason,
    )
    if not chosen:
        return result
    changes: dict[str, object] = {}
    try:
        changes["exchanges"] = save_exchanges(chosen, root / _folder(item, result), root, secrets)
    except OSError as error:
        changes["evidence"] = {**result.evidence, "requests_not_saved": str(error)}
    if log := _log_of(chosen[0]):
        changes["log"] = log
    return result.model_copy(update=changes)


def forget_earlier(root: Path, kept: Iterable[Result] = ()) -> None:
    """Remove what an earlier run saved in the same report directory.

    Args:
        kept: results that are carried over, whose files stay.
    """
    names = {name for result in kept for exchange in result.exchanges for name in exchange.files}
    wanted = {Path(name).parts[1] for name in names if Path(name).parts[:1] == (_FOLDER,)}
    for folder in (root / _FOLDER).glob(_REQUIREMENT_FOLDER):
        if folder.name not in wanted:
            shutil.rmtree(folder, ignore_errors=True)


def _folder(item: pytest.Item, result: Result) -> Path:
    folder = Path(_FOLDER, result.requirement)
    if result.model:
        folder = folder / result.model / result.deployment
    callspec, planned = getattr(item, "callspec", None), planned_of(item)
    rest = callspec.id.replace(planned.id if planned else "", "") if callspec else ""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", rest).strip("-.")[:_LONGEST_NAME]
    return folder / name if name else folder


def _log_of(exchange: Exchange) -> str:
    """What the engine wrote from the moment the request was sent."""
    lines = exchange.endpoint.log_since(exchange.log_from).splitlines()
    return "\n".join(lines[:_LOG_LINES])
