"""What the report says of each engine and measuring process: its command, devices and end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.report.results import EngineRecord

if TYPE_CHECKING:
    from pytest_qwenvl.engines.command import Launch

Kind = Literal["serve", "offline", "lm-eval", "bench", "attached"]


class EngineRecords:
    """The engines and measuring processes of one pytest process.

    Args:
        versions: tells what the engines' interpreter has, by distribution.

    Attributes:
        kept: the records, in the order in which they were made.
    """

    def __init__(self, versions: Callable[[], dict[str, str]]) -> None:
        self.kept: list[EngineRecord] = []
        self._versions = versions

    def add(
        self,
        kind: Kind,
        planned: PlannedDeployment,
        argv: tuple[str, ...],
        environment: dict[str, str],
        devices: tuple[int, ...],
        log: str,
        outcome: str,
        started: float | None = None,
        ready: float | None = None,
        seconds: float | None = None,
    ) -> None:
        """Keep a record.

        Args:
            started: seconds since the epoch; now by default.
            ready: seconds from the start until it was ready.
            seconds: for which it ran.
        """
        self.kept.append(
            EngineRecord(
                model=planned.profile.name,
                deployment=planned.deployment.name,
                kind=kind,
                argv=argv,
                environment=environment,
                devices=devices,
                versions={} if kind == "attached" else self._versions(),
                log=log,
                started=started or time.time(),
                ready=ready,
                seconds=seconds,
                outcome=outcome,
            )
        )

    @contextlib.contextmanager
    def during(
        self,
        kind: Kind,
        planned: PlannedDeployment,
        launch: Launch,
        lease: Lease | None,
        log: Path,
    ) -> Iterator[None]:
        """Keep a record of a measuring process (lm-eval, bench) that a ``with`` block runs."""
        began = time.time()
        outcome = "failed"
        try:
            yield
            outcome = "stopped"
        finally:
            self.add(
                kind,
                planned,
                launch.argv,
                launch.environment,
                lease.devices if lease else (),
                str(log),
                outcome,
                began,
                seconds=time.time() - began,
            )
