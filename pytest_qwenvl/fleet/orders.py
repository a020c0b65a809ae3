"""What the head sends a node, and what the node tells while it runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Order:
    """One attempt at one deployment, as a node gets it.

    Attributes:
        fleet: the fleet run's id, without which no fragment is taken.
        number: of the attempt, 1 for the first.
        devices: how many the child pytest may hold.
        backend: of the child pytest: ``npu`` or ``cpu``.
        directory: where it is started: the checkout, at the same path as on the head.
        arguments: of pytest, as the user wrote them.
        environment: what is added to the node's own.
        files: contents of files on the head that options name, by option.
        suite_digest: of the suite's files, as agreed before anything was placed.
    """

    fleet: str
    model: str
    deployment: str
    number: int
    devices: int
    backend: str
    directory: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    junit: bool = False
    suite_digest: str = ""

    @property
    def id(self) -> str:
        """``MODEL/DEPLOYMENT``."""
        return f"{self.model}/{self.deployment}"


@dataclass(frozen=True)
class Said:
    """Lines of the child pytest, and how many requirements it has judged so far."""

    lines: tuple[str, ...]
    judged: int


@dataclass(frozen=True)
class Piece:
    """The next bytes of the fragment's archive."""

    data: bytes


@dataclass(frozen=True)
class Ended:
    """The last a node tells.

    Attributes:
        digest: sha256 (hex) of the whole archive; empty when there is none.
        problem: why there is none.
    """

    digest: str
    problem: str = ""


@dataclass(frozen=True)
class Lost:
    """What the cluster tells in a node's place: the attempt is over, and why."""

    reason: str


Event = Said | Piece | Ended | Lost
