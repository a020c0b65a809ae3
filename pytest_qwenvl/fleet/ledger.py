"""Every attempt at a deployment, on the disk from its beginning on.

A line is written when an attempt begins and another when it ends; the last one counts. A head that
is lost has thereby said of each attempt under way that it was lost.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from pytest_qwenvl.fleet.orders import Order
from pytest_qwenvl.fleet.placing import Host
from pytest_qwenvl.report.results import AttemptRecord

ATTEMPTS = "attempts.jsonl"
_HEAD_LOST = "the head was lost while it ran"


class Ledger:
    """The attempts of one fleet run.

    Args:
        path: where they are written down, one line after the other; None for nowhere.
        most: how often a deployment may be lost before it is given up.
        claims: how many requirements each deployment decides.
        wall: seconds since the epoch.

    Attributes:
        lost_on: ids of the hosts on which a deployment was lost, by deployment.
        trouble: how many attempts each host lost.
    """

    def __init__(
        self,
        path: Path | None,
        most: int,
        claims: Mapping[str, int],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._most = most
        self._claims = claims
        self._wall = wall
        self._records: dict[tuple[str, int], AttemptRecord] = {}
        self._lost_now: Counter[str] = Counter()
        self.lost_on: dict[str, set[str]] = {}
        self.trouble: Counter[str] = Counter()
        if path is not None and path.is_file():
            self._read(path)

    @property
    def records(self) -> list[AttemptRecord]:
        """Every attempt as it is known now, in the order in which they began."""
        return sorted(self._records.values(), key=lambda its: its.started)

    def next_number(self, deployment: str) -> int:
        """The number of a deployment's next attempt."""
        return 1 + max((number for name, number in self._records if name == deployment), default=0)

    def given_up(self, deployment: str) -> bool:
        """Whether a deployment was lost as often as it may be, by this head."""
        return self._lost_now[deployment] >= self._most

    def times_lost(self, deployment: str) -> int:
        """How often a deployment was lost, by this head."""
        return self._lost_now[deployment]

    def begin(self, order: Order, host: Host) -> None:
        """An attempt begins; raises OSError."""
        now = self._wall()
        self._note(
            AttemptRecord(
                model=order.model,
                deployment=order.deployment,
                number=order.number,
                node=host.name,
                address=host.address,
                started=now,
                ended=now,
                outcome="lost",
                reason=_HEAD_LOST,
                claims=self._claims.get(order.id, 0),
            )
        )

    def take(self, order: Order, judged: int) -> None:
        """The results of an attempt are the report's; raises OSError."""
        self._end(order, judged, outcome="taken", reason="")

    def lose(self, order: Order, host: Host, reason: str, judged: int) -> AttemptRecord:
        """An attempt is over and nothing of it counts; raises OSError."""
        self._lost_now[order.id] += 1
        self.lost_on.setdefault(order.id, set()).add(host.id)
        self.trouble[host.id] += 1
        return self._end(order, judged, outcome="lost", reason=reason)

    def notes(self) -> list[str]:
        """A sentence for each lost attempt, for whoever reads the report."""
        return [sentence(its) for its in self.records if its.outcome == "lost"]

    def _end(self, order: Order, judged: int, **changes: object) -> AttemptRecord:
        begun = self._records[order.id, order.number]
        update = {**changes, "judged": judged, "ended": self._wall()}
        record = begun.model_copy(update=update)
        self._note(record)
        return record

    def _note(self, record: AttemptRecord) -> None:
        self._records[f"{record.model}/{record.deployment}", record.number] = record
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(record.model_dump_json() + "\n")
                file.flush()
                os.fsync(file.fileno())

    def _read(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            # A line that was cut off is that of an attempt whose beginning is known.
            with contextlib.suppress(ValidationError):
                record = AttemptRecord.model_validate_json(line)
                self._records[f"{record.model}/{record.deployment}", record.number] = record
        if text and not text.endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")


def sentence(record: AttemptRecord) -> str:
    """What became of a lost attempt."""
    seconds = max(0.0, record.ended - record.started)
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(record.started))
    return (
        f"{record.model}/{record.deployment}: attempt {record.number} on {record.node}, begun {at} "
        f"UTC, was lost after {seconds:.0f} s: {' '.join(record.reason.split())}; of its "
        f"{record.judged} results (of {record.claims}) none counts"
    )
