"""What a fleet is asked to run: pytest's arguments, read by pytest itself in a child on the head.

The head needs neither devices nor weights, and its own process never becomes a pytest.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.fleet.asking import ANSWER, QUESTION
from pytest_qwenvl.fleet.placing import Job
from pytest_qwenvl.report.results import NotRun, Requirement
from pytest_qwenvl.report.verdict import Claim

_PATIENCE = 300.0  # seconds for a collection
_LAST_LINES = 12


@dataclass(frozen=True)
class Request:
    """What the command line means.

    Attributes:
        arguments: for the child pytests: without ``--deployment``, which each is given its own.
        config: of the run; ``suite``: the folder of the conformance suite.
        junit: where the merged JUnit file goes; empty for none.
        profiles: those asked for, as JSON values with the file each was read from.
    """

    arguments: tuple[str, ...]
    config: Mapping[str, Any]
    suite: str
    junit: str
    profiles: tuple[tuple[Mapping[str, Any], str], ...]

    def path(self, name: str) -> Path | None:
        """A path among the options, if it was given."""
        value = self.config.get(name)
        return None if value is None else Path(value)


@dataclass(frozen=True)
class FleetPlan:
    """What the fleet sets out to do.

    Attributes:
        jobs: the deployments that decide something, in no order.
        claims: by deployment, texts of what it decides; under "" what every host decides of
            itself.
    """

    suite_version: str
    catalogue_version: str
    requirements: list[Requirement]
    profiles: dict[str, dict[str, Any]]
    scope: str
    not_run: tuple[NotRun, ...]
    jobs: tuple[Job, ...]
    claims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_request(arguments: Sequence[str]) -> Request:
    """What pytest's arguments mean.

    Raises:
        UsageProblem: pytest refuses them, or they ask for what a fleet does not do.
    """
    answer = _ask({"options": True}, arguments)
    if not answer["suite"]:
        raise UsageProblem(
            "fleet: these pytest arguments do not lead to a conformance suite; start it in the "
            "suite's checkout, which every host has at the same path"
        )
    config = answer["config"]
    if config["endpoint"]:
        raise UsageProblem("fleet: --endpoint is one server; run pytest --endpoint on one host")
    if config["resume"]:
        raise UsageProblem(
            "fleet: --resume after -- continues a run of one host; write it before --, and "
            "name the fleet's folder with --conformance-report"
        )
    if answer["workers"]:
        raise UsageProblem("fleet: without -n: it runs as many deployments at once as fit")
    if config["report_directory"] is None:
        raise UsageProblem("fleet: name a folder for the report with --conformance-report")
    for given in arguments:
        if given in ("--collect-only", "--co"):
            raise UsageProblem(f"fleet: {given} runs nothing; give it to pytest itself")
    return Request(
        arguments=_without_deployments(arguments),
        config=config,
        suite=answer["suite"],
        junit=answer["junit"],
        profiles=tuple((content, path) for content, path in answer["profiles"]),
    )


def read_plan(
    arguments: Sequence[str],
    backend: Literal["npu", "cpu"],
    devices: int,
    models: Sequence[str],
) -> FleetPlan:
    """What the arguments select, on hosts that have no more devices than this each.

    Args:
        models: those whose weights some host has.

    Raises:
        UsageProblem: nothing is selected, or a model asked for by name is nowhere.
    """
    plan = {"backend": backend, "devices": devices, "weights": dict.fromkeys(models, "/")}
    # --npus is the fleet's; that of one host it cannot be held against here.
    answer = _ask(
        {"plan": plan},
        [*arguments, "--collect-only", "-q", f"--npus={devices}", f"--backend={backend}"],
    )
    claims: dict[str, list[str]] = {its["id"]: [] for its in answer["deployments"]}
    for model, deployment, requirement in answer["claims"]:
        place = f"{model}/{deployment}" if model else ""
        claims.setdefault(place, []).append(str(Claim(model, deployment, requirement)))
    return FleetPlan(
        suite_version=answer["suite_version"],
        catalogue_version=answer["catalogue_version"],
        requirements=[Requirement.model_validate(its) for its in answer["requirements"]],
        profiles=answer["profiles"],
        scope=answer["scope"],
        not_run=tuple(NotRun.model_validate(its) for its in answer["not_run"]),
        jobs=tuple(
            Job(
                id=its["id"],
                model=its["model"],
                devices=its["devices"],
                seconds=its["seconds"],
                hardware=tuple(its["hardware"]),
                labels=tuple((name, value) for name, value in its["labels"]),
                whole_host=its["whole_host"],
            )
            for its in answer["deployments"]
        ),
        claims={place: tuple(its) for place, its in claims.items()},
    )


def _without_deployments(arguments: Sequence[str]) -> tuple[str, ...]:
    left = []
    skip = False
    for argument in arguments:
        if skip or argument.startswith("--deployment="):
            skip = False
        elif argument == "--deployment":
            skip = True
        else:
            left.append(argument)
    return tuple(left)


def _ask(question: dict[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="qwenvl-fleet-") as folder:
        path = Path(folder, "question.json")
        path.write_text(json.dumps(question), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-p", "pytest_qwenvl.fleet.asking", *arguments]
        command += ["-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                command,
                env={**os.environ, QUESTION: str(path)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UsageProblem(
                f"fleet: pytest did not collect within {_PATIENCE:.0f} s; try it by hand with "
                "--collect-only"
            ) from None
        if done.returncode == 0:
            answer: dict[str, Any] = json.loads(Path(f"{path}{ANSWER}").read_text(encoding="utf-8"))
            return answer
    if done.returncode == 5:
        raise UsageProblem("fleet: these pytest arguments select no test at all")
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    lines = [re.sub("^ERROR: ", "", line) for line in said if line.strip()]
    raise UsageProblem(
        f"fleet: pytest refuses these arguments (exit code {done.returncode}):\n"
        + "\n".join(lines[-_LAST_LINES:])
    )
