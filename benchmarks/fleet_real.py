"""A fleet on two real Ray nodes with real engines, one of which is killed in the middle.

``python -m benchmarks.fleet_real [PYTEST ARGUMENTS]``: the conformance of both reference models
with one command; ``-m smoke`` for a first look. Exit code 0 only if the report is CONFORMANT and
tells of the lost attempt. Needs the engine environment, Ray, and two cores of its own; the whole
default run takes about as long as one without a fleet and the killed deployment's time besides.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pytest_qwenvl.report.gating import judge_again
from pytest_qwenvl.report.reading import read_report
from tests.fleet.ray_nodes import started

ROOT = Path(__file__).resolve().parents[1]
_DEVICES = 2
_KILL_AFTER = 3
"""Results that some attempt must have come to before its node is killed."""


def main(arguments: Sequence[str]) -> int:
    """Run it, print what came out, and say whether it is what was promised."""
    with tempfile.TemporaryDirectory(prefix="qwenvl-fleet-real-") as name:
        folder = Path(name)
        report = folder / "report"
        temporary = folder / "tmp"
        temporary.mkdir()
        environment = {**os.environ, "TMPDIR": str(temporary)}
        with started(
            _DEVICES, _DEVICES, log=folder / "nodes.log", environment=environment
        ) as nodes:
            command = [sys.executable, "-m", "pytest_qwenvl.cli", "fleet"]
            command += ["--address", nodes.address, "--", "--backend=cpu", *arguments]
            command.append(f"--conformance-report={report}")
            began = time.monotonic()
            process = subprocess.Popen(command, cwd=ROOT)
            try:
                victim = _wait_for_the_middle(process, temporary, report)
                nodes.kill(victim)
                print(f"killed {victim} after {time.monotonic() - began:.0f} s", flush=True)
                code = process.wait()
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait(60)
        record = judge_again(read_report(report)).run
        lost = [its for its in record.attempts if its.outcome == "lost" and its.node == victim]
        left = list(temporary.glob("qwenvl-fleet-*"))
        print(f"{time.monotonic() - began:.0f} s, exit code {code}: {record.verdict_sentence}")
        for its in record.attempts:
            print(f"  {its.model}/{its.deployment} {its.number} on {its.node}: {its.outcome}, "
                  f"{its.judged} results, {its.ended - its.started:.0f} s")  # fmt: skip
        kept = os.environ.get("FLEET_REAL_KEEP")
        if kept:
            with contextlib.suppress(FileExistsError):
                report.rename(kept)
        good = code == 0 and record.verdict.value == "CONFORMANT" and bool(lost) and not left
        print("as promised" if good else f"NOT as promised (left behind: {left})")
        return 0 if good else 1


def _wait_for_the_middle(process: subprocess.Popen[bytes], temporary: Path, report: Path) -> str:
    """The host of an attempt that has judged a few requirements and is not over."""
    while process.poll() is None:
        for path in temporary.glob("qwenvl-fleet-*/report/results.jsonl"):
            with contextlib.suppress(OSError, StopIteration):
                lines = path.read_text(encoding="utf-8").splitlines()[1:]
                place = next((its["model"], its["deployment"]) for its in map(json.loads, lines)
                             if its["model"])  # fmt: skip
                if len(lines) >= _KILL_AFTER:
                    return _host_of(place, report)
        time.sleep(0.2)
    raise SystemExit(f"the fleet ended with {process.returncode} before its middle")


def _host_of(place: tuple[str, str], report: Path) -> str:
    lines = (report / "attempts.jsonl").read_text(encoding="utf-8").splitlines()
    its = [one for one in map(json.loads, lines) if (one["model"], one["deployment"]) == place]
    return str(its[-1]["node"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
