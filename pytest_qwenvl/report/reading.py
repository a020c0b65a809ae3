"""Read a stored report back, and say plainly what is wrong with one that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.directory import REPORT_NAME, RESULTS_NAME
from pytest_qwenvl.report.results import SCHEMA_VERSION, Result, RunRecord
from pytest_qwenvl.report.verdict import Claim, judge_run


def read_report(path: Path) -> RunRecord:
    """The record in ``report.json``, given the file or the directory it lies in.

    A report that its run did not live to finish may lag a second behind; what ``results.jsonl``
    beside it has beyond it is added, and the whole judged again.

    Raises:
        UsageProblem: no file, an unreadable, empty, cut-off or foreign one, or one of a newer
            schema; the message names what was seen.
    """
    if path.is_dir():
        path = path / REPORT_NAME
    data = _load(path)
    if not isinstance(data, dict) or not {"schema_version", "run_id"} <= data.keys():
        raise UsageProblem(
            f"{path}: JSON, but no report of this suite ({_shape(data)}); a report has "
            "schema_version, run_id and results"
        )
    version = data["schema_version"]
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        remedy = "read it with the pytest-qwenvl that wrote it" + (", or newer" if newer else "")
        raise UsageProblem(
            f"{path}: schema version {version!r}, written by pytest-qwenvl "
            f"{data.get('suite_version', 'of unknown version')}; this one reads version "
            f"{SCHEMA_VERSION}; {remedy}"
        )
    try:
        record = RunRecord.model_validate(data)
        for text in record.planned:
            Claim.parse(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageProblem(
            f"{path}: does not follow schema version {SCHEMA_VERSION}: {where}: {first['msg']} "
            f"({error.error_count()} such); was it edited by hand?"
        ) from error
    except ValueError as error:
        raise UsageProblem(f"{path}: planned: {error}; was it edited by hand?") from error
    if record.complete:
        return record
    return judge_run(_with_later_results(record, path.parent / RESULTS_NAME))


def _load(path: Path) -> Any:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageProblem(
            f"{path}: no such file; give the report.json that --conformance-report left"
        ) from error
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be read: {error.strerror}") from error
    if not raw.strip():
        raise UsageProblem(f"{path}: empty; the run left no report there")
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{path}: no JSON text: byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise UsageProblem(f"{path}: nested too deep to be a report of this suite") from error
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) - 1 or error.msg.startswith("Unterminated"):
            seen = f"cut off after {len(raw)} bytes (line {error.lineno})"
        else:
            seen = f"no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise UsageProblem(
            f"{path}: {seen}; results.jsonl beside it, where there is one, has a line a result"
        ) from error


def _shape(data: object) -> str:
    if isinstance(data, dict):
        keys = ", ".join(sorted(data)[:5])
        return f"an object with {keys}" if keys else "an empty object"
    return f"a {type(data).__name__}"


def _with_later_results(record: RunRecord, lines_path: Path) -> RunRecord:
    try:
        lines = lines_path.read_text(encoding="utf-8", errors="replace").split("\n")
        header = json.loads(lines[0])
    except (OSError, ValueError, IndexError):
        return record
    if not isinstance(header, dict) or header.get("run_id") != record.run_id:
        return record
    known = {result.model_dump_json() for result in record.results}
    results = list(record.results)
    for line in lines[1:]:
        try:
            result = Result.model_validate_json(line)
        except ValidationError:
            # Only a last line that was cut off can be one: all others were written whole.
            break
        text = result.model_dump_json()
        if text not in known:
            known.add(text)
            results.append(result)
    return record.model_copy(update={"results": results})
