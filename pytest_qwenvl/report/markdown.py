"""A report as one page of Markdown, for a pull request (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_qwenvl.report.gating import Change
from pytest_qwenvl.report.results import Result, RunRecord
from pytest_qwenvl.report.table import Cell, columns_of, rows_of
from pytest_qwenvl.report.verdict import Claim, Judged, first_line, place_of, settle

MOST_PROBLEMS = 20
"""What went wrong beyond this many is counted, not listed: the page stays one."""

_LONGEST = 300
_ACTIVE = re.compile(r"([\\`*_{}\[\]<>#!|~$:&]|(?<=www)\.)")
# A hosting site finds mentions and numbers of issues in what Markdown has made already.
_NAMING = re.compile(r"([@#])(?=\w)")
_MARKS = {"CONFORMANT": "✅", "PARTIAL": "⚠️", "NON-CONFORMANT": "❌"}


def render_markdown(run: RunRecord, changes: Sequence[Change] = ()) -> str:
    """The page: verdict, models by groups, what was measured, what went wrong, where it ran.

    Whatever a model or an engine wrote is escaped: it makes no link, mention, image or table cell.

    Args:
        run: a judged record.
        changes: what came out otherwise than the report said, when it was judged again.
    """
    claims = [Claim.parse(text) for text in run.planned]
    settled = settle(run.results, claims, run.requirements)
    parts = [
        f"## {_MARKS[run.verdict.value]} Qwen-VL conformance: {run.verdict.value}",
        _text(run.verdict_sentence),
        _table(settled),
        _section("Measured", _measured(run.results)),
        _section("Not passed", _problems(settled, run)),
        _section("Judged again", (f"- {_text(str(change))}" for change in changes)),
        _section("Where", _where(run)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _text(text: str) -> str:
    """One line of plain text, as Markdown shows it and never obeys it."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) > _LONGEST:
        line = line[: _LONGEST - 1] + "…"
    return _ACTIVE.sub(r"\\\1", _NAMING.sub("\\1\u200b", line))


def _section(title: str, lines: Iterator[str]) -> str:
    body = "\n".join(lines)
    return f"### {title}\n\n{body}" if body else ""


def _table(settled: list[Judged]) -> str:
    rows = rows_of(settled)
    if not rows:
        return ""
    columns = columns_of(rows)
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = [row.cells.get(column, Cell()).text(letters=False) for column in columns]
        lines.append(f"| {_text(row.label)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _measured(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        if "measurement" in result.evidence and result.evidence.get("judgement"):
            place = place_of(result.model, result.deployment)
            yield (
                f"- {_text(place)} {result.requirement} **{result.outcome.value}**: "
                f"{_text(str(result.evidence['judgement']))}"
            )


def _problems(settled: list[Judged], run: RunRecord) -> Iterator[str]:
    bad = [it for it in settled if it.outcome != "PASS"]
    bad.sort(key=lambda it: (it.level != "core", it.outcome != "FAIL", it.result is None))
    musts = {requirement.id: requirement.must for requirement in run.requirements}
    for judged in bad[:MOST_PROBLEMS]:
        claim = judged.claim
        reason = first_line(judged.result.reason) if judged.result else ""
        why = reason or musts.get(claim.requirement, "")
        yield (
            f"- **{judged.outcome.replace('_', ' ')}** {claim.requirement} ({judged.level}) on "
            f"{_text(place_of(claim.model, claim.deployment))}: {_text(why)}"
        )
    if len(bad) > MOST_PROBLEMS:
        yield f"- and {len(bad) - MOST_PROBLEMS} more"
    for entry in run.not_run:
        if entry.deployment:
            place = place_of(entry.model, entry.deployment)
            yield f"- **not run** {_text(place)}: {_text(entry.reason)}"


def _where(run: RunRecord) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    facts = {
        "suite": f"{run.suite_version}, catalogue {run.catalogue_version or 'none'}",
        "engine": versions,
        "devices": f"{run.npus} on backend {run.backend}" if run.backend else run.endpoint,
        "run": f"{run.run_id}: {' '.join(run.argv)}",
    }
    for name, value in facts.items():
        if value:
            yield f"- {name}: {_text(value)}"
    for earlier in run.continued:
        kept = sum(
            result.carried_over is not None and result.carried_over.run_id == earlier.run_id
            for result in run.results
        )
        yield f"- carried over from run {_text(earlier.run_id)}: {kept} of its results"
        for place, why in earlier.again.items():
            yield f"  - {_text(f'{place} {why}')}"
