"""Several reports in one: every claim, the worst result, and what is refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.cli import main
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.gating import judge_again
from pytest_qwenvl.report.merging import merge
from pytest_qwenvl.report.results import (
    ExchangeRecord,
    NotRun,
    RunRecord,
    Verdict,
    WaiverRecord,
)
from tests.measure.evaluations import answered
from tests.report.measured import BASELINE, SCORE, measured
from tests.report.records import MODEL, OTHER, SERVE, claim, requirement, result, run
from tests.report.test_gating import LOSSY, SAME, stored

FIRST = run(run_id="a", results=[result()], planned=[claim()], started=10.0, finished=20.0)
SECOND = run(
    run_id="b", results=[result(model=OTHER)], planned=[claim(model=OTHER)],
    started=5.0, finished=40.0,
)  # fmt: skip


def merged(*runs: RunRecord) -> RunRecord:
    return merge([(Path(f"/reports/{it.run_id}"), it) for it in runs], Path("/merged"))


def test_models_of_two_hosts() -> None:
    record = merged(FIRST, SECOND)
    assert record.verdict is Verdict.CONFORMANT
    assert [it.model for it in record.model_verdicts] == [MODEL, OTHER]
    assert record.planned == [claim(), claim(model=OTHER)]
    assert (record.started, record.finished, record.complete) == (5.0, 40.0, True)
    assert record.run_id not in ("a", "b")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("bad", ["FAIL", "ERROR", "INCONCLUSIVE"])
def test_a_second_run_is_no_second_chance(bad: str, order: tuple[int, int]) -> None:
    runs = (FIRST, run(run_id="c", results=[result(outcome=bad, reason="x")]))
    record = merged(*(runs[index] for index in order))
    assert record.verdict is not Verdict.CONFORMANT


def test_what_one_run_never_reached_another_may_have() -> None:
    halves = (
        run(run_id="a", results=[result("QVL-SRV-001")], planned=[claim("QVL-SRV-001")]),
        run(run_id="b", results=[result("QVL-SRV-002")], planned=[claim("QVL-SRV-002")]),
    )
    assert merged(*halves).verdict is Verdict.CONFORMANT
    never = run(run_id="c", planned=[claim("QVL-SRV-003")])
    assert merged(*halves, never).verdict is Verdict.PARTIAL


@pytest.mark.parametrize(
    "fields", [{"complete": False}, {"interrupted": "Ctrl-C"}]
)  # fmt: skip
def test_an_unfinished_run_leaves_the_whole_unfinished(fields: dict[str, Any]) -> None:
    record = merged(FIRST, SECOND.model_copy(update=fields))
    assert record.verdict is Verdict.PARTIAL


def test_deployments_that_another_host_ran_are_run() -> None:
    left_out = NotRun(model=OTHER, deployment=SERVE, reason="needs 2 NPUs")
    elsewhere = NotRun(model=OTHER, reason="weights not at hand")
    nowhere = NotRun(model="third", reason="weights not at hand")
    first = FIRST.model_copy(update={"not_run": [left_out, elsewhere, nowhere]})
    assert merged(first, SECOND).not_run == [nowhere]
    assert merged(first, run(run_id="d", results=[result()])).not_run == [
        left_out, elsewhere, nowhere,
    ]  # fmt: skip


def test_hosts_scopes_and_waivers() -> None:
    waiver = WaiverRecord(
        requirement="QVL-SRV-001", model=MODEL, deployment="*", reason="known", owner="we",
        expires="2027-01-01", used=0, problem="unneeded",
    )  # fmt: skip
    needed = waiver.model_copy(update={"used": 2, "problem": ""})
    first = FIRST.model_copy(
        update={"host": {"cpu": "x", "cores": 2}, "scope": "-m serve", "waivers": [waiver]}
    )
    second = SECOND.model_copy(
        update={"host": {"cpu": "x", "cores": 4}, "scope": "-m openai", "waivers": [needed]}
    )
    record = merged(first, second)
    assert record.host == {"cpu": "x", "hosts": {"a": first.host, "b": second.host}}
    assert record.scope == "-m serve + -m openai"
    assert record.waivers == [needed]


def test_files_are_found_from_the_new_folder() -> None:
    its = result(exchanges=[ExchangeRecord(curl="curl", files=("exchanges/1.json",))])
    record = merged(FIRST.model_copy(update={"results": [its]}), SECOND)
    assert record.results[0].exchanges[0].files == ("../reports/a/exchanges/1.json",)


REFUSED: dict[str, RunRecord] = {
    "suite version 9.9": SECOND.model_copy(update={"suite_version": "9.9"}),
    "catalogue version 2.0": SECOND.model_copy(update={"catalogue_version": "2.0"}),
    "backend npu": SECOND.model_copy(update={"backend": "npu"}),
    "endpoint http://x": SECOND.model_copy(update={"endpoint": "http://x"}),
    "vllm 0.31": SECOND.model_copy(update={"versions": {"vllm": "0.31"}}),
    "its catalogue says otherwise": SECOND.model_copy(update={"requirements": [requirement()]}),
    "differs .* in accuracy": SECOND.model_copy(update={"profiles": {MODEL: {"accuracy": [1]}}}),
    "given twice": FIRST,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_joined(reason: str) -> None:
    first = FIRST.model_copy(
        update={"versions": {"vllm": "0.32"}, "profiles": {MODEL: {"accuracy": []}}}
    )
    with pytest.raises(UsageProblem, match=reason):
        merged(first, REFUSED[reason])


def test_one_report_is_not_enough() -> None:
    with pytest.raises(UsageProblem, match="two reports or more"):
        merged(FIRST)


def test_each_runs_evaluation_is_judged_from_its_own_items() -> None:
    record = merged(measured(SAME, run_id="a"), measured(answered(range(300), 900), run_id="b"))
    again = judge_again(record)
    assert again.changes == ()
    assert [it.outcome.value for it in again.run.results if it.requirement == SCORE] == [
        "PASS", "FAIL",
    ]  # fmt: skip
    # Both are compared with the baseline's, whatever they are called here.
    compared = judge_again(merged(measured(SAME, run_id="a"), measured(LOSSY, run_id="b")),
                           measured(SAME, run_id="c")).run  # fmt: skip
    outcomes = [it.outcome.value for it in compared.results if it.requirement == BASELINE]
    assert outcomes == ["PASS", "FAIL"]


def test_command_writes_a_report_that_is_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [stored(tmp_path, it, f"{it.run_id}.json") for it in (FIRST, SECOND)]
    assert main(["merge", *paths, "--output", str(tmp_path / "both")]) == 0
    assert "CONFORMANT" in capsys.readouterr().out
    assert main(["gate", str(tmp_path / "both")]) == 0
    # Nothing that is there is lost.
    assert main(["merge", *paths, "--output", str(tmp_path / "both")]) == 2
    assert "there is a report already" in capsys.readouterr().err


def test_full_disk_is_a_usage_error_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [stored(tmp_path, it, f"{it.run_id}.json") for it in (FIRST, SECOND)]

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert main(["merge", *paths, "--output", str(tmp_path / "both")]) == 2
    assert "No space left" in capsys.readouterr().err
    assert list((tmp_path / "both").iterdir()) == []


@pytest.mark.parametrize("content", ["", '{"schema_version": 1, "ru', "{}"])
def test_bad_files_are_usage_errors(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.json").write_text(content)
    good = stored(tmp_path, measured(SAME), "good.json")
    assert main(["merge", good, str(tmp_path / "bad.json"), "--output", str(tmp_path / "x")]) == 2
    assert "bad.json" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
