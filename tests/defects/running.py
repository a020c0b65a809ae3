"""Running the conformance suite against a proxy with one defect."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pytest_qwenvl.catalogue import Catalogue, find_tests, load_catalogue
from tests.defects.planting import Planted
from tests.defects.proxy import Proxy

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "conformance"
PROFILES = Path(__file__).with_name("profiles")
MODEL = "defects"
KEY, KEY_ENV = "defects-key", "QWENVL_DEFECTS_KEY"
# Counted by the engine, over all of its clients: decided only where nobody else asks meanwhile.
COUNTED = frozenset({"QVL-SRV-014", "QVL-SRV-015", "QVL-SRV-016", "QVL-STR-016"})
PATIENCE = 900.0  # seconds for a run


@dataclass(frozen=True)
class Outcomes:
    """What a run decided, by requirement.

    Attributes:
        by_requirement: PASS, FAIL, ERROR …, the worst where a requirement has several results.
        reasons: why, of those that are red.
    """

    by_requirement: dict[str, str]
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def red(self) -> frozenset[str]:
        """Requirements that failed: the product broke."""
        return frozenset(it for it, seen in self.by_requirement.items() if seen == "FAIL")


def catalogue() -> Catalogue:
    """The suite's requirements."""
    return load_catalogue(SUITE / "requirements.toml")


_READING = threading.Lock()


def _tests() -> dict[str, list[str]]:
    # Python 3.11 cannot parse in several threads at once: "recursion depth mismatch".
    with _READING:
        return _read_tests()


@functools.cache
def _read_tests() -> dict[str, list[str]]:
    return find_tests(SUITE)


def run_suite(
    upstream: str, planted: Planted, requirements: Collection[str], folder: Path
) -> Outcomes:
    """Run the tests of ``requirements`` against the engine at ``upstream`` with a defect.

    Raises:
        AssertionError: the suite did not come to its end.
    """
    tests = _tests()
    chosen = sorted({test for it in requirements for test in tests[it]})
    folder.mkdir(parents=True, exist_ok=True)
    proxy = Proxy(upstream, planted)
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen),
                *(f"--endpoint={proxy.url}", f"--api-key-env={KEY_ENV}"),
                *(f"--profiles={PROFILES}", f"--model={MODEL}", f"--served-model-name={MODEL}"),
                *(f"--conformance-report={folder}", f"--basetemp={folder / 'tmp'}"),
            ],
            cwd=ROOT,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        proxy.stop()
    (folder / "output.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    assert done.returncode in (0, 1), (
        f"the suite ended with exit code {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}"
    )
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return _outcomes(report["results"])


def _outcomes(results: Iterable[dict[str, str]]) -> Outcomes:
    order = ("FAIL", "ERROR", "INVALID", "INCONCLUSIVE", "SKIPPED", "UNSUPPORTED", "PASS")
    seen: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for result in results:
        requirement, outcome = result["requirement"], result["outcome"]
        if outcome not in order:
            raise AssertionError(f"{requirement}: an outcome that is not known here, {outcome}")
        before = seen.get(requirement, "PASS")
        seen[requirement] = min(before, outcome, key=order.index)
        if outcome == "FAIL":
            reasons.setdefault(requirement, str(result.get("reason")))
    return Outcomes(seen, reasons)


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if "proxy" not in name.lower() and not name.startswith(("QWENVL_", "PYTEST_"))
    }
    return {**kept, KEY_ENV: KEY}
