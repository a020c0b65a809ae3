"""The head with a cluster that is played: what is lost is run again, and never counted."""

from __future__ import annotations

import json

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.fleet.fragment_files import FragmentProblem
from pytest_qwenvl.fleet.head import Head
from pytest_qwenvl.fleet.joining import merged_record, write_junit, write_report
from pytest_qwenvl.fleet.ledger import ATTEMPTS, Ledger
from pytest_qwenvl.fleet.orders import Ended, Lost, Said
from pytest_qwenvl.fleet.request import FleetPlan
from pytest_qwenvl.fleet.state import FleetState, open_state
from pytest_qwenvl.report.gating import judge_again
from pytest_qwenvl.report.reading import read_report
from pytest_qwenvl.report.results import Verdict
from tests.fleet.fleets import (
    FLEET,
    MODEL,
    REQUIREMENTS,
    PlayedCluster,
    archive,
    hosts,
    intake,
    jobs,
    order,
    record,
    well,
)
from tests.report.records import claim


class Played:
    """A fleet run with a played cluster."""

    def __init__(self, tmp_path, script, *deployments, on=("a", "b"), attempts=2):
        self.root = tmp_path / "report"
        self.root.mkdir(exist_ok=True)
        self.deployments = deployments or ("serve-1npu",)
        self.cluster = PlayedCluster(hosts(*on), script)
        self.intake = intake(self.root, *self.deployments)
        self.ledger = Ledger(self.root / ATTEMPTS, attempts, {f"{MODEL}/serve-1npu": 1})
        self.said: list[str] = []
        self.head = Head(
            jobs(*self.deployments),
            hosts(*on),
            self.cluster,
            lambda job, number: order(job.id.partition("/")[2], number),
            self.intake,
            self.ledger,
            say=lambda place, text: self.said.append(f"[{place}] {text}"),
        )

    def run(self):
        self.head.run()
        self.intake.close()
        claims = {f"{MODEL}/{name}": (claim(deployment=name),) for name in self.deployments}
        plan = FleetPlan("0.1.0", "", REQUIREMENTS, {}, "", (), (), claims)
        state = FleetState(fleet=FLEET, started=1.0, arguments=("-m", "serve"), inputs={})
        merged = merged_record(
            self.root, state, plan, "cpu", self.intake.taken, self.ledger,
            not_run=self.head.not_run, npus=self.head.most_held, interrupted=self.head.interrupted,
        )  # fmt: skip
        write_report(self.root, merged)
        return merged


def test_all_goes_well(tmp_path):
    fleet = Played(tmp_path, well(tmp_path), "serve-1npu", "serve-2npu")
    merged = fleet.run()
    assert merged.verdict is Verdict.CONFORMANT
    assert sorted(fleet.cluster.begun) == [("serve-1npu", 1, "a"), ("serve-2npu", 1, "b")]
    assert [its.outcome for its in merged.attempts] == ["taken", "taken"]
    assert judge_again(read_report(fleet.root)).run.verdict is Verdict.CONFORMANT
    assert (fleet.root / "report.html").is_file() and (fleet.root / "report.md").is_file()


def test_what_a_dead_node_ran_is_run_elsewhere_and_its_attempt_recorded(tmp_path):
    def script(which, host):
        if which.number == 1:
            fleet.cluster.living.discard(host.id)
            return [Said(("one result",), 1), Lost("NodeDiedError: power cut")]
        return well(tmp_path)(which, host)

    fleet = Played(tmp_path, script)
    merged = fleet.run()
    assert fleet.cluster.begun == [("serve-1npu", 1, "a"), ("serve-1npu", 2, "b")]
    assert merged.verdict is Verdict.CONFORMANT
    lost, taken = merged.attempts
    assert (lost.outcome, lost.node, lost.judged, lost.claims) == ("lost", "a", 1, 1)
    assert lost.reason == "NodeDiedError: power cut" and taken.outcome == "taken"
    (note,) = merged.notes
    assert "attempt 1 on a" in note and "of its 1 results (of 1) none counts" in note
    assert "[a qwen3-vl-tiny/serve-1npu] one result" in fleet.said
    assert "power cut" in (fleet.root / "report.html").read_text()


@pytest.mark.parametrize("last_word", [Lost("worker killed"), Ended("", "No space left on device")])
def test_what_is_lost_too_often_is_given_up(tmp_path, last_word):
    fleet = Played(tmp_path, lambda which, host: [last_word])
    merged = fleet.run()
    assert [number for _, number, _ in fleet.cluster.begun] == [1, 2]
    assert merged.verdict is Verdict.PARTIAL
    (left_out,) = merged.not_run
    assert left_out.deployment == "serve-1npu"
    assert left_out.reason.startswith("lost 2 times (--attempts), at last: ")
    assert merged.planned == [claim()] and merged.results == []


def test_a_bad_fragment_is_a_lost_attempt(tmp_path):
    def script(which, host):
        if which.number > 1:
            return well(tmp_path)(which, host)
        pieces, digest = archive(tmp_path, record(complete=False))
        from pytest_qwenvl.fleet.orders import Piece

        return [*map(Piece, pieces), Ended(digest)]

    merged = Played(tmp_path, script).run()
    assert merged.verdict is Verdict.CONFORMANT
    assert "its report is not whole" in merged.attempts[0].reason


def test_a_failure_is_a_result_and_gets_no_second_chance(tmp_path):
    def script(which, host):
        pieces, digest = archive(tmp_path, record(outcome="FAIL"))
        from pytest_qwenvl.fleet.orders import Piece

        return [*map(Piece, pieces), Ended(digest)]

    fleet = Played(tmp_path, script)
    assert fleet.run().verdict is Verdict.NON_CONFORMANT
    assert len(fleet.cluster.begun) == 1


def test_no_host_is_left(tmp_path):
    def script(which, host):
        fleet.cluster.living.clear()
        return [Lost("NodeDiedError: all gone")]

    fleet = Played(tmp_path, script, "serve-1npu")
    merged = fleet.run()
    assert merged.verdict is Verdict.PARTIAL
    assert merged.not_run[0].reason == "no host can run it: no host of the fleet is left"


def test_ctrl_c_ends_what_runs_and_leaves_a_report(tmp_path):
    def script(which, host):
        raise KeyboardInterrupt

    fleet = Played(tmp_path, script, "serve-1npu", "serve-2npu", "serve-3npu")
    merged = fleet.run()
    assert fleet.cluster.cancelled == [1, 2]
    assert merged.verdict is Verdict.PARTIAL and "Ctrl-C" in merged.verdict_sentence
    assert [its.deployment for its in merged.not_run] == ["serve-3npu"]
    assert {its.reason for its in merged.attempts} == {"interrupted by the user (Ctrl-C)"}


def test_after_a_lost_head_fragments_are_kept_and_attempts_known(tmp_path):
    def script(which, host):
        if which.deployment == "serve-2npu":
            # As SIGKILL: nothing is cleaned up, nothing more is written.
            raise SystemExit
        return well(tmp_path)(which, host)

    fleet = Played(tmp_path, script, "serve-1npu", "serve-2npu", on=("a",))
    fleet.ledger.lose = lambda *arguments: None
    with pytest.raises(SystemExit):
        fleet.head.run()
    again = Ledger(fleet.root / ATTEMPTS, 2, {})
    assert [(its.deployment, its.outcome) for its in again.records] == [
        ("serve-1npu", "taken"), ("serve-2npu", "lost"),
    ]  # fmt: skip
    assert again.records[1].reason == "the head was lost while it ran"
    assert again.next_number(f"{MODEL}/serve-2npu") == 2
    its = intake(fleet.root, "serve-1npu", "serve-2npu")
    assert its.take_again(f"{MODEL}/serve-1npu", 1).results
    with pytest.raises(FragmentProblem):
        its.take_again(f"{MODEL}/serve-2npu", 1)


def test_a_torn_line_costs_no_more_than_itself(tmp_path):
    path = tmp_path / ATTEMPTS
    ledger = Ledger(path, 2, {})
    ledger.begin(order(), hosts("a")[0])
    with path.open("a") as file:
        file.write(path.read_text()[:40])
    again = Ledger(path, 2, {})
    again.take(order(), 3)
    lines = path.read_text().splitlines()
    assert json.loads(lines[-1])["outcome"] == "taken" and len(lines) == 3


def test_states(tmp_path):
    with pytest.raises(UsageProblem, match="no fleet was begun there"):
        open_state(tmp_path, ("-m", "serve"), {"suite": "1"}, resume=True)
    state = open_state(tmp_path, ("-m", "serve"), {"suite": "1"}, resume=False)
    with pytest.raises(UsageProblem, match="holds a fleet's run; go on with it by --resume"):
        open_state(tmp_path, ("-m", "serve"), {"suite": "1"}, resume=False)
    assert open_state(tmp_path, ("-m", "serve"), {"suite": "1"}, resume=True) == state
    with pytest.raises(UsageProblem, match="made with another suite"):
        open_state(tmp_path, ("-m", "serve"), {"suite": "2"}, resume=True)


def test_junit_has_every_deployments_cases(tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / "fragments" / "m" / name
        folder.mkdir(parents=True)
        (folder / "junit.xml").write_text(
            '<testsuites><testsuite name="pytest">'
            f'<testcase name="{name}"/></testsuite></testsuites>'
        )
    write_junit(tmp_path, ["m/one", "m/two"], tmp_path / "out" / "all.xml")
    text = (tmp_path / "out" / "all.xml").read_text()
    assert text.count("<testsuite ") == 2
    assert 'name="m/one"' in text and '<testcase name="two"' in text
