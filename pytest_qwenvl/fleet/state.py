"""What a fleet run is, in its report directory, so that another head can go on with it."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.directory import replace_file

STATE = "fleet.json"


class FleetState(BaseModel):
    """A fleet run, as it was begun.

    Attributes:
        inputs: by name, the digest of each thing on which fragments depend.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    fleet: str
    started: float
    arguments: tuple[str, ...]
    inputs: dict[str, str]


def digest_of(value: object) -> str:
    """The sha256 (hex) of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def open_state(
    root: Path, arguments: Sequence[str], inputs: Mapping[str, str], *, resume: bool
) -> FleetState:
    """Begin a fleet run in a folder, or go on with the one that is there.

    Raises:
        UsageProblem: there is one and it was not asked for, or none and it was; what is there is
            of other inputs; the folder cannot be written.
    """
    path = root / STATE
    if not path.is_file():
        if resume:
            raise UsageProblem(f"--resume: {path}: no fleet was begun there; run without --resume")
        return _begin(path, arguments, inputs)
    if not resume:
        raise UsageProblem(
            f"--conformance-report {root}: holds a fleet's run; go on with it by --resume, or give "
            "another folder"
        )
    try:
        state = FleetState.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UsageProblem(f"--resume: {path}: cannot be read: {error}") from None
    differing = [name for name in {**state.inputs, **inputs} if
                 state.inputs.get(name) != inputs.get(name)]  # fmt: skip
    if differing:
        raise UsageProblem(
            f"--resume: {root}: its fragments were made with another {', another '.join(differing)}"
            "; what they found may not hold any more: give another folder"
        )
    return state


def _begin(path: Path, arguments: Sequence[str], inputs: Mapping[str, str]) -> FleetState:
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    state = FleetState(
        fleet=f"fleet-{stamp}-{uuid.uuid4().hex[:8]}",
        started=now,
        arguments=tuple(arguments),
        inputs=dict(inputs),
    )
    try:
        replace_file(path, state.model_dump_json(indent=1))
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be written: {error.strerror or error}") from error
    return state
