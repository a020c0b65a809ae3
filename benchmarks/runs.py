"""How long real runs take, where the time goes, and what pytest itself needs."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure
from pytest_qwenvl.report.reading import read_report
from pytest_qwenvl.report.results import RunRecord

ROOT = Path(__file__).resolve().parents[1]
# The requirement that starts a deployment's server a second time to see it come up as it was.
RESTART = "QVL-SRV-018"


def measure_smoke() -> list[Figure]:
    """The smoke selection, in seconds."""
    seconds, _, _ = _run("-m", "smoke")
    return [Figure("smoke", seconds, 120, "s")]


def measure_serve() -> list[Figure]:
    """``-m serve`` for one reference model, in seconds."""
    seconds, _, _ = _run("-m", "serve", "--model=qwen3-vl-tiny")
    return [Figure("`-m serve` for one reference model", seconds, 90, "s")]


def measure_default() -> list[Figure]:
    """The whole default run: duration, share of overhead, starts, memory of pytest."""
    seconds, run, memory = _run()
    engines = sum(engine.ready or 0 for engine in run.engines)
    programs = sum(engine.seconds or 0 for engine in run.engines)
    starts: dict[tuple[str, str], int] = {}
    for result in run.results:
        if result.requirement == RESTART:
            starts[result.model, result.deployment] = -1
    for engine in run.engines:
        if engine.kind in {"serve", "offline"}:
            key = (engine.model, engine.deployment)
            starts[key] = starts.get(key, 0) + 1
    rest = 100 * (seconds - engines - programs) / seconds
    for line in _where_the_rest_goes(seconds, run):
        print(line, flush=True)
    return [
        Figure("whole default run", seconds / 60, 12, "min"),
        Figure("of which beside engine start, lm-eval and load", rest, 10, "%"),
        Figure("engine starts of one deployment (restart aside)", max(starts.values()), 1, ""),
        Figure("peak memory of the pytest process", memory, 200, "MB"),
    ]


def _where_the_rest_goes(seconds: float, run: RunRecord) -> list[str]:
    """Seconds beside engine start, lm-eval and load, by deployment; and outside of any test."""
    spent: dict[str, float] = {}
    for result in run.results:
        name = f"{result.model}/{result.deployment}" if result.model else "host"
        spent[name] = spent.get(name, 0.0) + result.duration + result.setup
    outside = seconds - sum(spent.values())
    for engine in run.engines:
        name = f"{engine.model}/{engine.deployment}"
        spent[name] = spent.get(name, 0.0) - (engine.ready or 0) - (engine.seconds or 0)
    lines = [f"       in the tests of {name}: {value:.1f} s" for name, value in spent.items()]
    return [*lines, f"       outside of tests (collecting, stopping engines): {outside:.1f} s"]


def _run(*arguments: str) -> tuple[float, RunRecord, float]:
    """Seconds, report, and peak resident memory (MB) of one run."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "benchmarks.with_memory", f"{directory}/memory"]
        command += [f"--conformance-report={directory}/report", "-q", *arguments]
        begun = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, check=False)
        seconds = time.monotonic() - begun
        if done.returncode != 0:
            raise SystemExit(f"the run failed with exit code {done.returncode}; nothing to measure")
        memory = float(Path(directory, "memory").read_text()) / 1024
        return seconds, read_report(Path(directory, "report")), memory


def peak_memory_kib() -> int:
    """Peak resident memory of this process alone, children not counted."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
