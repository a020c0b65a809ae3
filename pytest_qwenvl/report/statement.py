"""A verdict as an in-toto test-result statement over what was tested (pure).

Statement v1 with the predicate ``https://in-toto.io/attestation/test-result/v0.1``: subjects are
the model's files, the RECORDs of the engine's wheels and the container's image, each with its
sha256; whoever holds them can tell that the verdict is about them. Signing is left to the tools
made for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.results import RunRecord, Verdict
from pytest_qwenvl.report.verdict import Claim, Judged, settle

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
WEIGHTS_FILES = "weights_files"
"""Key of evidence: file -> sha256, of the model that was evaluated."""

_RESULTS = {
    Verdict.CONFORMANT: "PASSED",
    Verdict.PARTIAL: "WARNED",
    Verdict.NON_CONFORMANT: "FAILED",
}
_SHA256 = re.compile(r"(?P<name>\S*?)@?sha256:(?P<digest>[0-9a-f]{64})")


def statement_of(run: RunRecord) -> dict[str, Any]:
    """The statement of a judged run, as JSON values.

    Raises:
        UsageProblem: the report has no digest of anything that was tested.
    """
    subjects = list(_subjects(run))
    if not subjects:
        raise UsageProblem(
            f"run {run.run_id} has no digest of what it tested, and a statement is about digests: "
            "run the group accuracy (weights), or engines of this host or of an image (wheels)"
        )
    claims = [Claim.parse(text) for text in run.planned]
    settled = settle(run.results, claims, run.requirements)
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": _RESULTS[run.verdict],
            "configuration": list(_configuration(run)),
            "passedTests": _named(settled, "passed"),
            "warnedTests": _named(settled, "warned"),
            "failedTests": _named(settled, "failed"),
        },
    }


def _subjects(run: RunRecord) -> Iterator[dict[str, Any]]:
    seen: set[tuple[str, str]] = set()

    def once(name: str, digest: str) -> Iterator[dict[str, Any]]:
        if (name, digest) not in seen:
            seen.add((name, digest))
            yield {"name": name, "digest": {"sha256": digest}}

    for result in run.results:
        files = result.evidence.get(WEIGHTS_FILES)
        if isinstance(files, dict):
            for name, digest in files.items():
                yield from once(f"{result.model}/{name}", str(digest))
    for name, digest in run.digests.items():
        yield from once(name, digest)
    # The image as the runtime names it: "TAG (NAME@sha256:…)".
    for match in _SHA256.finditer(run.versions.get("image", "").replace("(", " ")):
        yield from once(match["name"] or "image", match["digest"])


def _configuration(run: RunRecord) -> Iterator[dict[str, Any]]:
    """What it was tested with; resource descriptors, as the predicate demands."""
    facts: dict[str, Any] = {
        "run_id": run.run_id,
        "catalogue_version": run.catalogue_version,
        "scope": run.scope,
        "backend": run.backend,
        "devices": run.npus,
        "endpoint": run.endpoint,
        "started": run.started,
        "verdict": run.verdict.value,
        "sentence": run.verdict_sentence,
        "versions": dict(run.versions),
    }
    yield {
        "name": "pytest-qwenvl",
        "annotations": {"version": run.suite_version, **facts},
    }
    for model in run.profiles:
        yield {"name": f"profile {model}"}


def _named(settled: list[Judged], wanted: str) -> list[str]:
    outcomes = {"passed": ("PASS",), "failed": ("FAIL",)}
    others = {"PASS", "FAIL"}
    return [
        str(judged.claim)
        for judged in settled
        if (
            judged.outcome in outcomes[wanted]
            if wanted in outcomes
            else judged.outcome not in others
        )
    ]
