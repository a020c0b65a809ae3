"""Known failures: what excuses what, how long, and what becomes of excuses nobody needs."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.report.results import Outcome
from pytest_qwenvl.report.verdict import settle
from pytest_qwenvl.waivers import Waiver, load_waivers, review, waive
from tests.engines.scripted import CHAT, Scripted, scripted
from tests.plugin.attaching import SCRIPT, attach, attachable_suite, by_requirement
from tests.plugin.suite import Suite
from tests.report.records import MODEL, OTHER, SERVE, result

TODAY = datetime.date(2027, 3, 31)
ENTRY = """
[[waiver]]
requirement = "{requirement}"
reason = "tracked as 4711"
owner = "serving team"
expires = {expires}
"""


def waiver(**fields: object) -> Waiver:
    values = {"requirement": "QVL-SRV-001", "reason": "4711", "owner": "we", "expires": TODAY}
    return Waiver.model_validate({**values, **fields})


def written(folder: Path, requirement: str, expires: str = "2999-12-31") -> str:
    path = folder / "waivers.toml"
    path.write_text(ENTRY.format(requirement=requirement, expires=expires))
    return f"--waivers={path}"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"requirement": "QVL-SRV-*"},
        {"model": MODEL, "deployment": "serve-?npu"},
        {"expires": TODAY + datetime.timedelta(days=1)},
    ],
)
def test_a_failure_is_waived(fields):
    failed = result(outcome="FAIL", reason="expected 4, seen 5")
    waived = waive(failed, [waiver(requirement="QVL-AAA-001"), waiver(**fields)], TODAY)
    assert waived.outcome is Outcome.WAIVED
    assert waived.reason == "expected 4, seen 5"
    assert waived.waiver.startswith("waived by we until 2027-")


@pytest.mark.parametrize(
    "fields",
    [
        {"requirement": "QVL-SRV-002"},
        {"model": OTHER},
        {"deployment": "offline-*"},
        {"expires": TODAY - datetime.timedelta(days=1)},
    ],
)
def test_a_failure_is_not_waived_by_another_waiver(fields):
    failed = result(outcome="FAIL")
    assert waive(failed, [waiver(**fields)], TODAY) is failed


@pytest.mark.parametrize("outcome", [it for it in Outcome if it is not Outcome.FAIL])
def test_nothing_but_a_failure_is_waived(outcome):
    other = result(outcome=outcome)
    assert waive(other, [waiver()], TODAY) is other


@pytest.mark.parametrize(
    ("fields", "results", "problem"),
    [
        ({}, [result(outcome="WAIVED")], ""),
        ({}, [result(outcome="ERROR")], ""),
        ({}, [result("QVL-SRV-002")], ""),
        ({}, [], ""),
        ({}, [result(), result(model=OTHER, outcome="WAIVED")], ""),
        ({}, [result()], "unneeded: what it covers passed (1 in this run)"),
        ({"requirement": "QVL-SRV-00[12]"}, [result(), result("QVL-SRV-002")], "unneeded"),
        ({"model": MODEL}, [result(), result(model=OTHER, outcome="FAIL")], "unneeded"),
        ({"requirement": "QVL-SVR-001"}, [], "stale: the catalogue has no such requirement; did "),
        ({"expires": datetime.date(2027, 3, 30)}, [result(outcome="FAIL")], "expired on 2027-03-"),
    ],
)
def test_a_waiver_is_reviewed(fields, results, problem):
    ids = ["QVL-SRV-001", "QVL-SRV-002"]
    claimed = [(MODEL, SERVE, "QVL-SRV-003")]
    (reviewed,) = review([waiver(**fields)], ids, settle(results, claimed), TODAY)
    assert reviewed.problem.startswith(problem)
    assert bool(reviewed.problem) == bool(problem)
    assert reviewed.used == sum(it.outcome is Outcome.WAIVED for it in results)


def test_what_was_never_judged_is_not_unneeded():
    claimed = [(MODEL, SERVE, "QVL-SRV-001"), (OTHER, SERVE, "QVL-SRV-001")]
    (reviewed,) = review([waiver()], ["QVL-SRV-001"], settle([result()], claimed), TODAY)
    assert reviewed.problem == ""


GOOD = ENTRY.format(requirement="QVL-SRV-001", expires="2027-01-01")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file"),
        ("[[waiver", "no TOML"),
        ("[waiver]\n", "waiver: needs tables, each begun with [[waiver]]"),
        ("[[waivers]]\n", "waivers: needs tables, each begun with [[waiver]]"),
        (GOOD.replace("owner", "ownr"), "waiver 1 (QVL-SRV-001): owner: Field required"),
        (GOOD + "until = 2\n", "waiver 1 (QVL-SRV-001): until: Extra inputs are not permitted"),
        (GOOD + 'modle = "a"\n', "did you mean 'model'?"),
        (GOOD + GOOD.replace("tracked as 4711", " "), "waiver 2 (QVL-SRV-001): reason: "),
        (GOOD.replace("2027-01-01", '"soon"'), "write a day, such as expires = 2027-03-31"),
        ("waiver = [1]\n", "waiver 1: "),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, text, said):
    path = tmp_path / "waivers.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageProblem) as caught:
        load_waivers(path)
    assert str(caught.value).startswith(f"--waivers {path}: ")
    assert said in str(caught.value)


# Runs.


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return attachable_suite(tmp_path / "checkout")


@pytest.fixture
def broken() -> Iterator[Scripted]:
    with scripted({**SCRIPT, CHAT: (500, {"error": {"message": "broken"}})}) as server:
        yield server


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_a_waived_failure_does_not_fail_the_run(suite, broken, workers):
    arguments = ("-m", "serve", written(suite.folder, "QVL-SRV-*"), "--junitxml=junit.xml")
    done = attach(suite, broken, *arguments, *workers)
    assert done.code == 0, done.all
    assert "1 waived" in done.outcomes()
    report = suite.read_report()
    result = by_requirement(report)["QVL-SRV-003"]
    assert result["outcome"] == "WAIVED"
    assert "expected 200, seen 500" in result["reason"]
    assert result["exchanges"], "it failed, and says how"
    assert report["verdict"] == "PARTIAL", "excused is not passed"
    assert report["waivers"][0]["used"] == 1
    assert "waived by serving team until 2999-12-31: tracked as 4711" in done.out
    assert 'value="WAIVED"' in (suite.folder / "junit.xml").read_text()


@pytest.mark.parametrize(
    ("healthy", "requirement", "expires", "verdict", "said"),
    [
        (False, "QVL-SRV-003", "2020-01-01", "NON-CONFORMANT", "expired on 2020-01-01"),
        (True, "QVL-SRV-003", "2999-12-31", "CONFORMANT", "unneeded: what it covers passed"),
        (True, "QVL-VID-*", "2999-12-31", "CONFORMANT", "stale: the catalogue has no such"),
        (True, "QVL-OAI-002", "2020-01-01", "CONFORMANT", "expired on 2020-01-01"),
    ],
)
def test_a_waiver_that_is_wrong_fails_the_run(
    suite, broken, healthy, requirement, expires, verdict, said
):
    if healthy:
        broken.script |= SCRIPT
    done = attach(suite, broken, "-m", "serve", written(suite.folder, requirement, expires))
    assert done.code == 1, done.all
    assert f"waiver problem: {requirement} (serving team): {said}" in done.out
    report = suite.read_report()
    assert report["verdict"] == verdict
    assert report["exit_status"] == 1
    assert report["waivers"][0]["problem"].startswith(said)


def test_a_waiver_out_of_scope_is_left_alone(suite, broken):
    broken.script |= SCRIPT
    done = attach(suite, broken, "-m", "serve", written(suite.folder, "QVL-OAI-002"))
    assert done.code == 0, done.all


def test_a_file_of_waivers_that_is_wrong_runs_nothing(suite, broken):
    done = attach(suite, broken, f"--waivers={suite.folder / 'none.toml'}")
    done.assert_usage_error(f"--waivers {suite.folder / 'none.toml'}: cannot be read")
    assert broken.lines == []
