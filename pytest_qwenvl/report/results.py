"""What a run found: the records every report is made of, and the verdict over them (pure)."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1


class Outcome(str, Enum):
    """What one requirement came to for one deployment."""

    PASS = "PASS"
    FAIL = "FAIL"
    ERROR = "ERROR"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"
    SKIPPED = "SKIPPED"
    UNSUPPORTED = "UNSUPPORTED"
    WAIVED = "WAIVED"


class Verdict(str, Enum):
    """What a set of results amounts to."""

    CONFORMANT = "CONFORMANT"
    PARTIAL = "PARTIAL"
    NON_CONFORMANT = "NON-CONFORMANT"


class Record(BaseModel):
    """Base of what is written to ``report.json``: unknown keys are an error when read back."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Requirement(Record):
    """One MUST sentence of the catalogue (``conformance/requirements.toml``).

    Attributes:
        per: whether every deployment it applies to decides it, or only the smallest one of each
            model that the run selects: what number of devices and engine arguments cannot change.
        applies_to: the backends on which it can be decided; on another it is not claimed.
        judge: what decides it from a measurement that the report keeps whole (a name of
            ``report.judges``), so that it is never taken on trust; empty for the others.
    """

    id: str
    group: str
    level: Literal["core", "extended"]
    since: str
    must: str
    rationale: str
    source: str
    per: Literal["deployment", "model"] = "deployment"
    applies_to: tuple[Literal["npu", "cpu"], ...] = ("npu", "cpu")
    judge: str = ""


class ExchangeRecord(Record):
    """A request of a test that failed, and what came back.

    Attributes:
        curl: the command that sends it again.
        status: None when no answer came.
        response: status, content type and the beginning of the body; or how the connection
            failed.
        started: seconds since the epoch; ``seconds`` until the answer's headers.
        files: what was saved of it, relative to the report's directory.
    """

    curl: str
    status: int | None = None
    response: str = ""
    started: float = 0.0
    seconds: float | None = None
    files: tuple[str, ...] = ()


class CarriedOver(Record):
    """Where a result of a resumed run comes from; when it was found is the result's ``started``.

    Attributes:
        run_id: the run that found it.
        attempt: its number among the runs that continue each other, the first of them 1.
    """

    run_id: str
    attempt: int


class Result(Record):
    """One requirement judged for one deployment of one model.

    Attributes:
        requirement: id, e.g. ``QVL-SRV-001``.
        test: pytest's node id, which with ``reproduce`` runs it again.
        reason: for every outcome but PASS: what was expected and what was seen, in one screen.
        evidence: what the test measured, raw enough to be judged again; JSON values only.
        duration: seconds in the test itself; ``setup``: seconds its fixtures took (engine start).
        log: last lines the engine wrote while the test ran (only kept when not PASS).
        started: seconds since the epoch.
        exchanges: of a test that failed, its requests, the one in question first.
        waiver: of a WAIVED result, who excuses it, until when and why.
        carried_over: of a result that the run did not find itself (``--resume``): who did.
    """

    requirement: str
    group: str
    level: Literal["core", "extended"]
    test: str
    model: str
    deployment: str
    outcome: Outcome
    reason: str = ""
    evidence: dict[str, Any] = Field(default_factory=dict)
    duration: float = 0.0
    setup: float = 0.0
    started: float = 0.0
    exchanges: list[ExchangeRecord] = Field(default_factory=list)
    waiver: str = ""
    log: str = ""
    reproduce: str = ""
    worker: str = ""
    carried_over: CarriedOver | None = None


class EngineRecord(Record):
    """An engine or measuring process that the run started, as it was started.

    Attributes:
        kind: ``serve``, ``offline``, ``lm-eval`` or ``bench``.
        argv, environment: the exact command; the environment holds only what the suite set.
        devices: indices of the leased devices.
        ready: seconds from start to ready; None when it never was.
        seconds: how long a measuring process ran; None for an engine.
        outcome: ``ready``, ``failed`` or ``stopped``.
    """

    model: str
    deployment: str
    kind: Literal["serve", "offline", "lm-eval", "bench", "attached"]
    argv: tuple[str, ...]
    environment: dict[str, str] = Field(default_factory=dict)
    devices: tuple[int, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    log: str = ""
    started: float = 0.0
    ready: float | None = None
    seconds: float | None = None
    outcome: str = ""


class NotRun(Record):
    """A model, or a deployment of one, that the run left out, and why.

    Attributes:
        deployment: set when the run was asked for the model and this deployment of it could not
            run, which makes the model PARTIAL; empty for a model that is merely not at hand.
    """

    model: str
    deployment: str = ""
    reason: str


class Undecided(Record):
    """A requirement, or a whole deployment, that cannot be decided on an attached server.

    Attributes:
        requirement: empty for a deployment whose requirements are decided on another one.
        deployment: empty for what belongs to the host.
        reason: what it needs that an attached run does not have.
    """

    requirement: str
    model: str
    deployment: str = ""
    reason: str


class WaiverRecord(Record):
    """A waiver of the file that the run was given (``--waivers``).

    Attributes:
        expires: the last day on which it counts, as ISO 8601 writes it.
        used: how many requirements of the run it excused.
        problem: why it fails the run: expired, stale or unneeded; empty when it does not.
    """

    requirement: str
    model: str
    deployment: str
    reason: str
    owner: str
    expires: str
    used: int
    problem: str = ""


class Extension(Record):
    """What one plugin of a vendor added to a run.

    Attributes:
        environment: names of the facts in the run's ``host`` that it told.
        settings: engine arguments and variables that it added, by ``MODEL/DEPLOYMENT``.
        fields: JSON values of its own; no verdict looks at them.
    """

    environment: tuple[str, ...] = ()
    settings: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    fields: dict[str, Any] = Field(default_factory=dict)


class AttemptRecord(Record):
    """One attempt of a fleet to run a deployment on one of its hosts.

    Attributes:
        number: 1 for the deployment's first.
        node: the host, as the cluster names it; ``address``: where the cluster reaches it.
        started, ended: seconds since the epoch.
        outcome: ``taken`` when its results are the report's; ``lost`` when none of them counts.
        reason: of a lost one, what ended it.
        judged: how many results it had come to; ``claims``: of how many requirements.
    """

    model: str
    deployment: str
    number: int
    node: str
    address: str = ""
    started: float
    ended: float
    outcome: Literal["taken", "lost"]
    reason: str = ""
    judged: int = 0
    claims: int = 0


class ContinuedRun(Record):
    """A run that a resumed one continues, directly or over others.

    Attributes:
        number: among the runs that continue each other, the first of them 1.
        outcomes: how many results of each outcome its record has, carried-over ones included.
        kept: how many of these the next attempt kept.
        again: why others ran again, by ``MODEL/DEPLOYMENT``: inputs that changed, or requirements
            with their outcomes.
    """

    run_id: str
    number: int
    started: float
    argv: tuple[str, ...] = ()
    outcomes: dict[str, int] = Field(default_factory=dict)
    kept: int = 0
    again: dict[str, str] = Field(default_factory=dict)


class ModelVerdict(Record):
    """The verdict over one model, with what it rests on."""

    model: str
    verdict: Verdict
    reason: str
    counts: dict[str, int]


class RunRecord(Record):
    """A whole run: everything ``report.json`` holds.

    Attributes:
        scope: how the run was narrowed (``-m serve``, ``-k …``); empty for the whole suite.
        interrupted: why the run ended before its end (Ctrl-C, an internal error); else empty.
        planned: everything the run set out to judge, ``MODEL/DEPLOYMENT REQUIREMENT`` each, so
            that what was never reached is known when the report is judged again.
        backend: ``npu`` or ``cpu``; a verdict earned on the CPU backend always names it. Empty
            for an attached server, whose devices were not seen.
        endpoint: the attached server's base URL; empty when the run started its own engines.
        undecided: what the selection covers and cannot be decided on an attached server; it does
            not count against the verdict, which names the endpoint as its scope.
        digests: what identifies the engine's wheels, by name: sha256 (hex).
        complete: False in a report that was written while the run was still going.
        continued: the runs that this one continues (``--resume``), the first one first; their own
            records lie in ``attempts/`` of the report directory.
        notes: what the run met on its host and no result tells: devices that were passed over or
            quarantined, and why.
        attempts: of a fleet's run, every attempt at a deployment, lost ones included.
        extensions: what plugins of vendors added, by the plugin's name.
    """

    schema_version: Literal[1] = SCHEMA_VERSION  # type: ignore[assignment]
    suite_version: str
    catalogue_version: str = ""
    run_id: str
    started: float
    finished: float | None = None
    complete: bool = False
    exit_status: int | None = None
    interrupted: str = ""
    argv: tuple[str, ...] = ()
    scope: str = ""
    backend: str = ""
    npus: int = 0
    host: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    digests: dict[str, str] = Field(default_factory=dict)
    requirements: list[Requirement] = Field(default_factory=list)
    profiles: dict[str, dict[str, Any]] = Field(default_factory=dict)
    planned: list[str] = Field(default_factory=list)
    not_run: list[NotRun] = Field(default_factory=list)
    endpoint: str = ""
    undecided: list[Undecided] = Field(default_factory=list)
    waivers: list[WaiverRecord] = Field(default_factory=list)
    engines: list[EngineRecord] = Field(default_factory=list)
    continued: list[ContinuedRun] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    attempts: list[AttemptRecord] = Field(default_factory=list)
    extensions: dict[str, Extension] = Field(default_factory=dict)
    results: list[Result] = Field(default_factory=list)
    model_verdicts: list[ModelVerdict] = Field(default_factory=list)
    verdict: Verdict = Verdict.PARTIAL
    verdict_sentence: str = ""
