"""pytest inside pytest: runs that continue others, and what they show of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pytest_qwenvl.cli import main
from tests.plugin.suite import Done, Suite
from tests.stand_in_engine.install import stand_in_python

ALL = {"QVL-ENV-001", "QVL-SRV-001", "QVL-SRV-002"}


def begin(suite: Suite, *arguments: str, **environment: str) -> dict[str, Any]:
    done = suite.run(f"--conformance-report={suite.report}", *arguments, **environment)
    assert done.code in (0, 1), done.all
    return suite.read_report()


def resume(suite: Suite, *arguments: str, **environment: str) -> Done:
    return suite.run(f"--resume={suite.report}", *arguments, **environment)


def carried(report: dict[str, Any]) -> list[str]:
    return [it["test"] for it in report["results"] if it["carried_over"]]


def fresh(report: dict[str, Any]) -> list[str]:
    return [it["test"] for it in report["results"] if not it["carried_over"]]


def test_everything_is_carried_over_and_no_engine_starts(suite: Suite) -> None:
    suite.profile("alpha", deployments=[("serve", 1), ("serve", 2)])
    before = begin(suite)
    junit = suite.folder / "junit.xml"
    done = resume(suite, f"--junitxml={junit}")
    after = suite.read_report()
    assert done.code == 0, done.all
    assert done.outcomes().count("carried over") == 1
    assert f"{len(before['results'])} carried over" in done.outcomes()
    assert f"{len(before['results'])} of {len(before['results'])} results are carried" in done.out
    assert sorted(carried(after)) == sorted(it["test"] for it in before["results"])
    assert fresh(after) == []
    assert after["run_id"] != before["run_id"]
    mark = {"run_id": before["run_id"], "attempt": 1}
    assert all(it["carried_over"] == mark for it in after["results"])
    assert {it["started"] for it in after["results"]} == {it["started"] for it in before["results"]}
    assert after["planned"] == before["planned"]
    assert after["verdict_sentence"] == before["verdict_sentence"]
    assert [it["started"] for it in after["engines"]] == [it["started"] for it in before["engines"]]
    cases = ElementTree.parse(junit).getroot().iter("testcase")
    told = [
        (case.get("name"), its.get("value"))
        for case in cases
        for its in case.iter("property")
        if its.get("name") == "qwenvl_carried_over"
    ]
    assert len(told) == len(before["results"])
    assert {value for _, value in told} == {before["run_id"]}
    kept = suite.report / "attempts" / f"{before['run_id']}.jsonl"
    assert len(kept.read_text().splitlines()) == 1 + len(before["results"])


def test_what_failed_runs_again_and_is_named(suite: Suite) -> None:
    suite.profile("alpha", "dies-on-describe", "has-family")
    before = begin(suite)
    assert before["verdict"] == "NON-CONFORMANT"
    (failed,) = [it["test"] for it in before["results"] if it["outcome"] == "FAIL"]
    done = resume(suite)
    after = suite.read_report()
    assert done.code == 1, done.all
    assert after["verdict"] == "NON-CONFORMANT"
    assert fresh(after) == [failed]
    assert "alpha/serve-1npu runs again in part: QVL-SRV-002 (FAIL)" in done.out
    (continued,) = after["continued"]
    assert continued["outcomes"] == {"PASS": 3, "FAIL": 1}
    assert continued["kept"] == 3
    # The engine started for the one that ran again alone.
    assert len(after["engines"]) == len(before["engines"]) + 1


def test_a_resumed_run_is_resumed(suite: Suite) -> None:
    suite.profile("alpha", "dies-on-describe")
    first = begin(suite)
    resume(suite)
    second = suite.read_report()
    resume(suite)
    third = suite.read_report()
    assert [it["run_id"] for it in third["continued"]] == [first["run_id"], second["run_id"]]
    assert [it["number"] for it in third["continued"]] == [1, 2]
    assert {it["carried_over"]["run_id"] for it in third["results"] if it["carried_over"]} == {
        first["run_id"]
    }
    assert sorted(it.name for it in (suite.report / "attempts").iterdir()) == sorted(
        f"{it['run_id']}.jsonl" for it in (first, second)
    )


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def change_version(suite: Suite) -> dict[str, str]:
    packages = suite.folder / "other-packages"
    metadata = packages / "vllm-0.99.0+cpu.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.99.0+cpu\n")
    edit(stand_in_python(suite.folder / "bin"), "PYTHONPATH=", f"PYTHONPATH={packages}:")
    return {}


def change_argument(suite: Suite) -> dict[str, str]:
    edit(suite.profiles / "alpha.toml", "max_model_len = 4096", "max_model_len = 8192")
    return {}


def change_environment(suite: Suite) -> dict[str, str]:
    return {"VLLM_LOGGING_LEVEL": "DEBUG"}


def change_weights(suite: Suite) -> dict[str, str]:
    (suite.weights / "model.safetensors").write_bytes(b"other")
    return {}


def change_profile(suite: Suite) -> dict[str, str]:
    edit(suite.profiles / "alpha.toml", "agreement = 1.0", "agreement = 0.9")
    return {}


def change_test(suite: Suite) -> dict[str, str]:
    edit(suite.suite / "test_suite.py", "status_code == 200", "status_code in (200,)")
    return {}


def change_code(suite: Suite) -> dict[str, str]:
    (suite.suite / "asking.py").write_text("QUESTIONS = 3\n")
    return {}


def change_requirement(suite: Suite) -> dict[str, str]:
    edit(suite.suite / "requirements.toml", "An answer MUST work.", "An answer MUST be quick.")
    return {}


def change_catalogue(suite: Suite) -> dict[str, str]:
    edit(suite.suite / "requirements.toml", 'version = "0.1"\n', 'version = "0.2"\n')
    return {}


@pytest.mark.parametrize(
    ("change", "said", "again"),
    [
        (change_argument, "alpha/serve-1npu runs again: argument max_model_len 4096 -> 8192",
         {"QVL-SRV-001", "QVL-SRV-002"}),
        (change_environment, "variable VLLM_LOGGING_LEVEL none -> DEBUG", ALL),
        (change_weights, "alpha/serve-1npu runs again: weights changed",
         {"QVL-SRV-001", "QVL-SRV-002"}),
        (change_profile, "alpha/serve-1npu runs again: profile's understanding changed",
         {"QVL-SRV-001", "QVL-SRV-002"}),
        (change_test, "QVL-SRV-002 (its test changed)", ALL),
        (change_code, "alpha/serve-1npu runs again: suite's code changed", ALL),
        (change_requirement, "runs again in part: QVL-SRV-002 (its requirement changed)",
         {"QVL-SRV-002"}),
        (change_catalogue, "alpha/serve-1npu runs again: catalogue 0.1 -> 0.2", ALL),
        (change_version, "vllm 0.32.0+cpu -> 0.99.0+cpu", ALL),
    ],
)  # fmt: skip
def test_an_input_that_changed_is_named_and_what_rests_on_it_runs_again(
    suite: Suite, change: Any, said: str, again: set[str]
) -> None:
    suite.profile("alpha")
    begin(suite)
    environment = change(suite)
    done = resume(suite, **environment)
    after = suite.read_report()
    assert done.code == 0, done.all
    assert said in done.out
    ids = {it["test"]: it["requirement"] for it in after["results"]}
    assert {ids[test] for test in fresh(after)} == again
    assert {ids[test] for test in carried(after)} == ALL - again
    assert after["verdict"] == "CONFORMANT"


def test_another_deployment_of_the_model_changes_nothing(suite: Suite) -> None:
    suite.profile("alpha", deployments=[("serve", 1)])
    begin(suite)
    suite.profile("alpha", deployments=[("serve", 1), ("serve", 2)])
    done = resume(suite)
    after = suite.read_report()
    assert done.code == 0, done.all
    assert len(carried(after)) == 4
    assert all("serve-2npu" in test for test in fresh(after))
    assert after["verdict"] == "CONFORMANT"


def test_with_workers(suite: Suite) -> None:
    suite.profile("alpha", "dies-on-describe")
    suite.profile("beta")
    before = begin(suite, "-n2")
    done = resume(suite, "-n2")
    after = suite.read_report()
    (failed,) = [it["test"] for it in before["results"] if it["outcome"] == "FAIL"]
    assert fresh(after) == [failed]
    assert len(carried(after)) == len(before["results"]) - 1
    assert f"{len(carried(after))} carried over" in done.outcomes()
    assert sorted(after["planned"]) == sorted(before["planned"])
    started = {it["model"] for it in after["engines"] if it["started"] > after["started"]}
    assert started == {"alpha"}


def test_gate_judges_what_was_carried_over(
    suite: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    suite.profile("alpha")
    begin(suite)
    resume(suite)
    assert main(["gate", str(suite.report)]) == 0
    assert "CONFORMANT" in capsys.readouterr().out


def test_a_carried_over_result_that_was_edited_to_a_failure_still_counts(suite: Suite) -> None:
    suite.profile("alpha")
    begin(suite)
    resume(suite)
    path = suite.report / "report.json"
    report = json.loads(path.read_text())
    report["results"][1]["outcome"] = "FAIL"
    path.write_text(json.dumps(report))
    assert main(["gate", str(suite.report)]) == 1


def test_a_waiver_that_is_gone_lets_its_failure_run_again(suite: Suite) -> None:
    suite.profile("alpha", "dies-on-describe")
    waivers = suite.folder / "waivers.toml"
    waivers.write_text(
        '[[waiver]]\nrequirement = "QVL-SRV-002"\nmodel = "*"\nreason = "known"\n'
        'owner = "somebody"\nexpires = 2999-01-01\n'
    )
    begin(suite, f"--waivers={waivers}")
    done = resume(suite, f"--waivers={waivers}")
    assert done.code == 0, done.all
    kept = suite.read_report()
    (waived,) = [it for it in kept["results"] if it["outcome"] == "WAIVED"]
    assert waived["carried_over"]
    files = [name for exchange in waived["exchanges"] for name in exchange["files"]]
    assert all((suite.report / name).exists() for name in files)
    done = resume(suite)
    assert done.code == 1, done.all
    after = suite.read_report()
    assert fresh(after) == [waived["test"]]
    assert after["verdict"] == "NON-CONFORMANT"


def test_where_the_report_goes(suite: Suite) -> None:
    suite.profile("alpha")
    begin(suite, "-m", "environment")
    elsewhere = suite.folder / "elsewhere"
    resume(suite, "-m", "environment", f"--conformance-report={elsewhere}").assert_usage_error(
        "a resumed run writes its report to the folder that it continues; drop one of them"
    )
    same = resume(suite, "-m", "environment", f"--conformance-report={suite.report}")
    assert same.code == 0, same.all
    ini = suite.folder / "pytest.ini"
    edit(ini, "[pytest]\n", "[pytest]\nqwenvl_conformance_report = elsewhere\n")
    of_command_line = resume(suite, "-m", "environment")
    assert of_command_line.code == 0, of_command_line.all
    assert not elsewhere.exists()
    edit(ini, "[pytest]\n", f"[pytest]\nqwenvl_resume = {suite.report}\n")
    suite.run("-m", "environment").assert_usage_error("drop one of them")
    edit(ini, "qwenvl_conformance_report = elsewhere\n", "")
    of_ini = suite.run("-m", "environment")
    assert of_ini.code == 0, of_ini.all
    assert "1 carried over" in of_ini.outcomes()
    shutil.rmtree(suite.report)
    assert suite.run("-m", "environment").code == 4
