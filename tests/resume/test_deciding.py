"""What is kept, what runs again, and how it is shown, without any run."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.html import render_page
from pytest_qwenvl.report.markdown import render_markdown
from pytest_qwenvl.report.results import CarriedOver, ContinuedRun, Result
from pytest_qwenvl.report.terminal import render_summary
from pytest_qwenvl.report.verdict import judge_run
from pytest_qwenvl.resume_inputs import RunInputs
from pytest_qwenvl.resume_record import EarlierRun, RunHeader
from pytest_qwenvl.resuming import Continuation, changes, continue_run
from pytest_qwenvl.weights_digest import weights_fingerprint
from tests.report.records import MODEL, SERVE, requirement, result, run

PLACE = f"{MODEL}/{SERVE}"
FILE = "conformance/test_serve.py"
IDS = [f"QVL-SRV-00{n}" for n in range(1, 5)]


def inputs(**changed: Any) -> RunInputs:
    values: dict[str, Any] = {
        "suite_version": "1",
        "catalogue_version": "1",
        "requirements": dict.fromkeys(IDS, "same"),
        "tests": {FILE: "same"},
        "host": "one",
        "places": {PLACE: {"vllm": "0.23.0"}, "host": {"vllm": "0.23.0"}},
    }
    return RunInputs(**{**values, **changed})


def resume(
    results: Iterable[Result],
    now: RunInputs | None = None,
    damaged: Iterable[str] = (),
    judge: str = "",
) -> Continuation:
    header = RunHeader(run_id="run-1", started=1.0, inputs=inputs())
    earlier = EarlierRun(header, tuple(results), frozenset(damaged), ())
    today = datetime.date(2026, 11, 22)
    requirements = [requirement(name, judge=judge) for name in IDS]
    return continue_run(earlier, now or inputs(), requirements, (), today)


def kept(continuation: Continuation) -> list[str]:
    return [it.requirement for it in continuation.kept]


@pytest.mark.parametrize(
    ("outcome", "held"),
    [("PASS", True), ("UNSUPPORTED", True), ("SKIPPED", True), ("FAIL", False), ("ERROR", False),
     ("INCONCLUSIVE", False), ("INVALID", False), ("WAIVED", False)],
)  # fmt: skip
def test_only_what_needs_no_second_look_is_kept(outcome: str, held: bool) -> None:
    told = resume([result(IDS[0], outcome, duration=0.1), result(IDS[1])])
    assert kept(told) == ([IDS[0]] if held else []) + [IDS[1]]
    again = told.continued[-1].again
    assert again == ({} if held else {PLACE: f"runs again in part: {IDS[0]} ({outcome})"})


def test_what_a_set_up_skipped_runs_again() -> None:
    assert kept(resume([result(IDS[0], "SKIPPED", duration=0.0)])) == []


def test_a_test_with_a_second_result_that_erred_runs_again_as_a_whole() -> None:
    results = [result(IDS[0]), result(IDS[0], "ERROR", reason="teardown"), result(IDS[1])]
    assert kept(resume(results)) == [IDS[1]]


def test_a_test_whose_line_is_damaged_runs_again() -> None:
    results = [result(IDS[0]), result(IDS[1])]
    assert kept(resume(results, damaged=[results[0].test])) == [IDS[1]]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"places": {PLACE: {"vllm": "0.32.0"}}}, "runs again: vllm 0.23.0 -> 0.32.0"),
        ({"places": {}}, "is no deployment of this run: its results are left behind"),
        ({"requirements": {IDS[0]: "other", IDS[1]: "same"}},
         f"runs again in part: {IDS[0]} (its requirement changed)"),
        ({"requirements": {IDS[1]: "same"}},
         f"runs again in part: {IDS[0]} (its requirement changed)"),
    ],
)  # fmt: skip
def test_changed_inputs_are_named(changed: dict[str, Any], why: str) -> None:
    told = resume([result(IDS[0])], inputs(**changed))
    assert kept(told) == []
    assert told.continued[-1].again == {PLACE: why}
    assert told.lines()[1] == f"{PLACE} {why}"


def test_results_of_the_environment_hold_on_their_host_alone() -> None:
    results = [result(IDS[0], group="environment"), result(IDS[1])]
    assert kept(resume(results)) == IDS[:2]
    assert kept(resume(results, inputs(host="two"))) == [IDS[1]]


def test_comparisons_hold_with_their_baseline_alone() -> None:
    measured = {"measurement": {"kind": "load", "name": "text"}}
    results = [result(IDS[0], evidence=measured)]
    now = inputs(baseline="other")
    assert kept(resume(results, now, judge="latency-baseline")) == []
    assert kept(resume(results, now, judge="load")) == [IDS[0]]


def test_results_of_one_measurement_stay_together() -> None:
    own = {"measurement": {"kind": "load", "name": "text"}}
    other = {"measurement": {"kind": "load", "name": "image"}}
    results = [
        result(IDS[0], evidence=own),
        result(IDS[1], "FAIL", evidence={"measurement": "load text"}),
        result(IDS[2], evidence=other),
    ]
    assert kept(resume(results)) == [IDS[2]]
    results[1] = result(IDS[1], evidence={"measurement": "load text"})
    assert kept(resume(results)) == IDS[:3]
    # What was judged from a measurement falls with the result that keeps it.
    now = inputs(requirements={IDS[1]: "same", IDS[2]: "same"})
    assert kept(resume(results, now)) == [IDS[2]]


def test_another_selection_is_refused() -> None:
    with pytest.raises(UsageProblem, match="run run-1 was asked for everything, this one for -m"):
        resume([result()], inputs(selection="-m serve"))


def test_changes_name_what_can_be_read_and_no_digests() -> None:
    before = {"a": "1", "b": "sha256:1", "c": "x", "d": "same"}
    now = {"a": "2", "b": "sha256:2", "d": "same", "e": "[1" + ", 1" * 40 + "]"}
    assert changes(before, now) == ["a 1 -> 2", "b changed", "e changed", "c x -> none"]


def test_a_mark_of_an_earlier_attempt_stays() -> None:
    mark = CarriedOver(run_id="run-0", attempt=1)
    first, second = resume([result(IDS[0], carried_over=mark), result(IDS[1])]).kept
    assert first.carried_over == mark
    assert second.carried_over == CarriedOver(run_id="run-1", attempt=1)


def test_every_way_to_read_a_report_shows_what_was_carried_over() -> None:
    mark = CarriedOver(run_id="run-0", attempt=1)
    why = f"runs again in part: {IDS[1]} (FAIL)"
    record = judge_run(
        run(
            results=[result(IDS[0], carried_over=mark), result(IDS[1])],
            continued=[ContinuedRun(run_id="run-0", number=1, started=1.0, again={PLACE: why})],
        )
    )
    assert record.verdict.value == "CONFORMANT"
    line = "carried over: 1 of 2 results, from run run-0"
    assert line in render_summary(record, 80)
    page = render_page(record)
    assert page.count("carried over from run run-0") == 1
    assert "1 of 2 results are carried over" in page
    assert why in page
    markdown = render_markdown(record)
    assert "carried over from run run-0: 1 of its results" in markdown
    assert "runs again in part" in markdown


def test_fingerprint_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    large = tmp_path / "model.safetensors"
    large.write_bytes(bytes(100))
    monkeypatch.setattr("pytest_qwenvl.weights_digest.SMALL_FILE", 50)
    before = weights_fingerprint(tmp_path)
    assert weights_fingerprint(tmp_path) == before
    large.write_bytes(bytes(99) + b"1")
    changed = weights_fingerprint(tmp_path)
    assert changed != before
    (tmp_path / "config.json").write_text("[]")
    assert weights_fingerprint(tmp_path) not in (before, changed)
