"""How long 27 deployments take on a played host with 16 NPUs, beside the shortest possible.

Everything is the real thing, plugin, ``pytest -n``, scheduler and leases, but for the host and the
engines, whose minutes pass in seconds. What does not shrink with them is not to be mistaken for
waste: the clock runs from when the scheduler begins, with pytest started and everything collected,
to when the last lease is given back, and a deployment's length is for how long it held its NPUs.
What the same comes to by the lengths that were simulated is printed beside it.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from pytest_qwenvl.dispatching import Work, lower_bound
from tests.plugin.played import PlayedSuite, end_all

_HOST = "a3-16x910c"
_NPUS = 16
_WORKERS = 12
_SCALE = 20
"""Seconds of a real run in one second here."""

# Model, NPUs it needs, minutes its engine takes to start there; after the published models.
_MODELS = (
    ("qwen3-vl-2b", 1, 2.0),
    ("qwen3-vl-4b", 1, 2.5),
    ("qwen3-vl-8b", 1, 3.5),
    ("qwen3-vl-8b-w8a8", 1, 3.0),
    ("qwen2.5-vl-3b", 1, 2.0),
    ("qwen2.5-vl-7b", 1, 3.0),
    ("qwen3-vl-32b", 4, 7.0),
    ("qwen3-vl-32b-w8a8", 2, 6.0),
    ("qwen2.5-vl-32b", 4, 7.5),
)
# Deployment, mode, times as many NPUs, minutes of tests.
_DEPLOYMENTS = (
    ("offline", "offline", 1, 6.0),
    ("serve", "serve", 1, 10.0),
    ("wide", "serve", 2, 8),
)
# Nobody's estimate is right: what a deployment takes, by what its profile says.
_OFF = (1.0, 0.92, 1.08, 0.95, 1.05)

_DEPLOYMENT = """
[[deployments]]
name = "{name}"
mode = "{mode}"
npus = {npus}
images = 4
start_timeout = 600.0
estimated_seconds = {estimated}
[deployments.environment]
STAND_IN_START_SECONDS = "{start}"
"""

_TESTS = """
import json, os, time
from pathlib import Path
import pytest

SECONDS = json.loads(Path(__file__).with_name("seconds.json").read_text())

@pytest.mark.deployment_mode("offline")
@pytest.mark.serve
def test_offline(start_offline_llm, deployment):
    start_offline_llm()
    time.sleep(SECONDS[deployment.id])

@pytest.mark.serve
def test_served(server, deployment):
    time.sleep(SECONDS[deployment.id])
"""

_NOTING = """
import contextlib, os, time
from pathlib import Path
from pytest_qwenvl.devices.lease import DevicePool
from pytest_qwenvl.scheduling import DeploymentScheduling

NOTES = Path(__file__).with_name("notes")
lease, schedule = DevicePool.lease, DeploymentScheduling.schedule

@contextlib.contextmanager
def noted_lease(self, count, holder, waiting=None, **more):
    with lease(self, count, holder, waiting, **more) as held:
        begun = time.monotonic()
        yield held
    path = NOTES / holder.replace("/", "-")
    path.write_text(f"[{len(held.held)}, {begun}, {time.monotonic()}]")

def noted_schedule(self):
    NOTES.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError), (NOTES / "scheduled").open("x") as file:
        file.write(str(time.monotonic()))
    schedule(self)

DevicePool.lease = noted_lease
DeploymentScheduling.schedule = noted_schedule
"""


@dataclass(frozen=True)
class _Planned:
    model: str
    name: str
    mode: str
    npus: int
    start: float
    tests: float
    estimated: float

    @property
    def seconds(self) -> float:
        return self.start + self.tests


def measure() -> list[Figure]:
    """The time all of it takes, by what it takes at least."""
    planned = _planned()
    with tempfile.TemporaryDirectory() as folder:
        suite = PlayedSuite(Path(folder), _HOST)
        try:
            _write(suite, planned)
            run = suite.begin("dispatch", f"--npus={_NPUS}", f"-n{_WORKERS}", "-q")
            done = run.done()
            if done.code != 0:
                raise SystemExit(f"the run failed with exit code {done.code}:\n{done.all}")
            makespan, leases = _noted(suite.suite / "notes", len(planned))
        finally:
            end_all(suite)
    bound = lower_bound(leases, _NPUS)
    simulated = lower_bound([Work(it.name, it.npus, it.seconds) for it in planned], _NPUS)
    print(
        f"       {len(leases)} deployments in {makespan:.1f} s, at least {bound:.1f} s by what "
        f"they took, {simulated:.1f} s by what was simulated ({makespan / simulated:.3f} times)",
        flush=True,
    )
    what = "9 models by 3 deployments on 16 NPUs, by the shortest possible"
    return [Figure(what, makespan / bound, 1.1, "times")]


def _planned() -> list[_Planned]:
    found = []
    for model, npus, minutes in _MODELS:
        for name, mode, times, tests in _DEPLOYMENTS:
            start = minutes * 60 / _SCALE
            expected = tests * 60 / _SCALE
            off = _OFF[len(found) % len(_OFF)]
            found.append(
                _Planned(model, name, mode, npus * times, start, expected * off, start + expected)
            )
    return found


def _write(suite: PlayedSuite, planned: Sequence[_Planned]) -> None:
    """The suite's profiles and tests, in place of those it has."""
    for path in suite.suite.glob("test_*.py"):
        path.unlink()
    (suite.suite / "test_dispatch.py").write_text(_TESTS)
    seconds = {f"{it.model}/{it.name}": it.tests for it in planned}
    (suite.suite / "seconds.json").write_text(json.dumps(seconds))
    suite.plugin(_NOTING)
    for model, _, _ in _MODELS:
        path = suite.profile(model, deployments=[])
        with path.open("a", encoding="utf-8") as file:
            for it in planned:
                if it.model == model:
                    file.write(
                        _DEPLOYMENT.format(
                            name=it.name,
                            mode=it.mode,
                            npus=it.npus,
                            estimated=it.estimated,
                            start=it.start,
                        )
                    )


def _noted(notes: Path, expected: int) -> tuple[float, list[Work]]:
    """Seconds from the scheduler's start to the last lease's end, and all leases as work."""
    begun = float((notes / "scheduled").read_text())
    ended, leases = -math.inf, []
    for path in notes.iterdir():
        if path.name != "scheduled":
            npus, taken, given_back = json.loads(path.read_text())
            ended = max(ended, given_back)
            leases.append(Work(path.name, npus, given_back - taken))
    if len(leases) != expected:
        raise SystemExit(f"{len(leases)} leases were noted, {expected} were to be taken")
    return ended - begun, leases
