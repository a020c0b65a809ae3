"""Small fleets for tests: fragments, an intake, and a cluster that does what it is told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

from pytest_qwenvl.fleet.fragment_files import Manifest, pack
from pytest_qwenvl.fleet.intake import Intake
from pytest_qwenvl.fleet.orders import Ended, Event, Order, Piece, Said
from pytest_qwenvl.fleet.placing import Host, Job
from pytest_qwenvl.report.results import RunRecord
from tests.report.records import claim, requirement, result, run

FLEET = "fleet-1"
SUITE = "suite-digest"
MODEL = "qwen3-vl-tiny"
REQUIREMENTS = [requirement()]


def order(deployment: str = "serve-1npu", number: int = 1) -> Order:
    return Order(FLEET, MODEL, deployment, number, 1, "cpu", "/", (), suite_digest=SUITE)


def record(deployment: str = "serve-1npu", outcome: str = "PASS", **fields: Any) -> RunRecord:
    values: dict[str, Any] = {
        "run_id": f"run-{deployment}-{fields.pop('number', 1)}",
        "requirements": REQUIREMENTS,
        "planned": [claim(deployment=deployment)],
        "results": [result(deployment=deployment, outcome=outcome)],
        "finished": 1_700_000_060.0,
    }
    return run(**{**values, **fields})


def archive(
    folder: Path, its: RunRecord | None = None, deployment: str = "serve-1npu", **changes: Any
) -> tuple[list[bytes], str]:
    """A fragment as a node sends it, and its digest."""
    report = folder / f"made-{len(list(folder.glob('made-*')))}"
    report.mkdir(parents=True)
    (report / "report.json").write_text((its or record(deployment)).model_dump_json())
    (report / "pytest.log").write_text("1 passed\n")
    manifest = Manifest(
        **{"fleet": FLEET, "model": MODEL, "deployment": deployment, "number": 1,
           "suite_digest": SUITE, "files": {}, **changes}
    )  # fmt: skip
    pieces = list(pack(report, manifest))
    return pieces, hashlib.sha256(b"".join(pieces)).hexdigest()


def intake(root: Path, *deployments: str) -> Intake:
    claims = {f"{MODEL}/{name}": [claim(deployment=name)] for name in deployments}
    return Intake(root, FLEET, "0.1.0", "", REQUIREMENTS, SUITE, claims)


def jobs(*deployments: str) -> list[Job]:
    return [Job(f"{MODEL}/{name}", MODEL, 1, 60.0) for name in deployments]


def hosts(*names: str, devices: int = 1) -> list[Host]:
    return [Host(f"id-{name}", name, devices, models=frozenset({MODEL})) for name in names]


Script = Callable[[Order, Host], Sequence[Event]]


class PlayedCluster:
    """Does with each order what a script says, an order at a time.

    Attributes:
        begun: (deployment, attempt, host) of every order.
    """

    def __init__(self, its: Sequence[Host], script: Script) -> None:
        self.living = {host.id for host in its}
        self.begun: list[tuple[str, int, str]] = []
        self.cancelled: list[Hashable] = []
        self._script = script
        self._under_way: list[tuple[int, Order, Host]] = []

    def alive(self) -> set[str]:
        return self.living

    def begin(self, order: Order, host: Host, devices: int) -> Hashable:
        self.begun.append((order.deployment, order.number, host.name))
        self._under_way.append((len(self.begun), order, host))
        return len(self.begun)

    def events(self, timeout: float) -> list[tuple[Hashable, Event]]:
        handle, order, host = self._under_way.pop(0)
        return [(handle, event) for event in self._script(order, host)]

    def cancel(self, handle: Hashable) -> None:
        self.cancelled.append(handle)


def well(folder: Path) -> Script:
    """Every order goes well."""

    def script(order: Order, host: Host) -> Sequence[Event]:
        its = record(order.deployment, number=order.number)
        pieces, digest = archive(folder, its, order.deployment, number=order.number)
        return [Said(("begun",), 0), *map(Piece, pieces), Ended(digest)]

    return script
