from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.reading import read_report
from tests.report.records import claim, result, run

GOOD = run(results=[result()], planned=[claim()]).model_dump_json()


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(GOOD), **fields})


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (GOOD[:200].encode(), "cut off after 200 bytes"),
        (GOOD[:-1].encode(), "cut off"),
        (GOOD[:-20].encode(), "cut off"),
        (b"<html></html>", "no JSON"),
        (b"\xff\xfe\x00\x01", "no JSON text"),
        (b"[1, 2]", "a list"),
        (b"{}", "an empty object"),
        (b'{"tests": [], "summary": {}}', "summary, tests"),
        (b"[" * 100_000, "nested too deep"),
        (changed(schema_version=2).encode(), "schema version 2.*or newer"),
        (changed(schema_version="x", suite_version="9").encode(), "'x'.*written by .* 9"),
        (changed(resluts=[]).encode(), "resluts: Extra inputs"),
        (changed(results=[{"requirement": "Q"}]).encode(), r"results\.0\.group"),
        (changed(planned=["nonsense"]).encode(), "planned: 'nonsense'"),
    ],
)
def test_unreadable_report_is_named_with_what_was_seen(
    tmp_path: Path, content: bytes, seen: str
) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(UsageProblem, match=f"(?s){path}: .*{seen}"):
        read_report(path)


def test_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="no such file"):
        read_report(tmp_path)


def test_file_and_folder_both_do(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(GOOD)
    assert read_report(tmp_path) == read_report(tmp_path / "report.json")
    assert read_report(tmp_path).results == [result()]


def lines(tmp_path: Path, run_id: str, *texts: str) -> None:
    header = json.dumps({"schema_version": 1, "run_id": run_id})
    (tmp_path / "results.jsonl").write_text("\n".join([header, *texts]))


def test_unfinished_report_gains_the_later_results_once(tmp_path: Path) -> None:
    first, odd = result(), result("QVL-SRV-002", reason="\u2028 splits lines", outcome="FAIL")
    (tmp_path / "report.json").write_text(run(complete=False, results=[first]).model_dump_json())
    third = result("QVL-SRV-003").model_dump_json()
    texts = [first.model_dump_json(), odd.model_dump_json(), odd.model_dump_json(), third[:40]]
    lines(tmp_path, "run-1", *texts)
    record = read_report(tmp_path)
    assert record.results == [first, odd]
    assert record.verdict.value == "NON-CONFORMANT"


def test_lines_of_another_run_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(run(complete=False).model_dump_json())
    lines(tmp_path, "run-0", result().model_dump_json())
    assert read_report(tmp_path).results == []
    (tmp_path / "results.jsonl").write_text("")
    assert read_report(tmp_path).results == []
