"""Seeing from outside in which phase a run is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.faults.drawing import Phase
from tests.faults.suite import RESULTS, FaultSuite


class Moments:
    """Looks at the files a run writes, and says whether it has come to a phase."""

    def __init__(self, suite: FaultSuite) -> None:
        self._suite = suite
        place = suite.report / "engines" / "alpha" / "serve-1npu"
        self._log = place / "server.log"
        self._bench = place / "bench" / "program.log"
        self._evaluation = place / "lm-eval" / "program.log"

    def reached(self, phase: Phase) -> bool:
        """Whether the run has come to the phase, or is past it."""
        if phase == "collection":
            return True
        if phase == "preflight":
            return (self._suite.report / "results.jsonl").exists()
        if phase == "start-up":
            return self._log.exists()
        if phase == "ready":
            return _holds(self._log, "Application startup complete")
        if phase == "tests":
            return any(it["requirement"] == "QVL-SRV-001" for it in self.results())
        if phase == "load":
            return _holds(self._bench, "working")
        if phase == "lm-eval":
            return _holds(self._evaluation, "working")
        everything = len(self.results()) == sum(RESULTS.values())
        if phase == "stopping":
            return everything
        return everything and (self._suite.report / "report.json.partial").exists()

    def results(self) -> list[dict[str, Any]]:
        """The results that are whole on the disk."""
        try:
            lines = (self._suite.report / "results.jsonl").read_text().split("\n")
        except OSError:
            return []
        # What comes after the last line's end is being written.
        found = [json.loads(line) for line in lines[1:-1]]
        return [it for it in found if "requirement" in it]


def _holds(path: Path, text: str) -> bool:
    try:
        return text in path.read_text(errors="replace")
    except OSError:
        return False
