"""pytest inside pytest: what a run refuses, what it reports, what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.stand_in_engine.install import stand_in_python, write_weights

CORES = len(os.sched_getaffinity(0))
HEAVY = ("torch", "vllm", "transformers", "lm_eval", "openai", "scipy", "requests", "rich", "PIL")


# What is refused before anything starts.


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_npus_that_are_no_number_of_devices(suite, value):
    suite.profile()
    done = suite.run(f"--npus={value}")
    done.assert_usage_error(f"--npus {value}: needs a whole number of devices, 1 or more")


def test_more_npus_than_there_are(suite):
    suite.profile()
    suite.run(f"--npus={CORES + 1}").assert_usage_error(
        f"--npus {CORES + 1}: this host has {CORES} visible virtual devices (one a core); "
        f"ask for at most {CORES}"
    )


def test_npus_on_a_host_without(suite):
    suite.profile()
    suite.run("--backend=npu").assert_usage_error("--backend npu, but no NPU is visible")


def test_an_unknown_model(suite):
    suite.profile("alpha")
    suite.profile("beta")
    suite.run("--model=alhpa").assert_usage_error(
        "--model alhpa: matches no profile; did you mean 'alpha'?", "profiles: alpha, beta"
    )


@pytest.mark.parametrize("what", ["missing", "empty", "broken"])
def test_weights_that_cannot_be_loaded(suite, what):
    weights = suite.folder / "w"
    suite.profile("beta")
    suite.profile("alpha", weights=weights)
    if what != "missing":
        weights.mkdir()
    if what == "broken":
        write_weights(weights)
        (weights / "config.json").write_text("{")
    said = {
        "missing": f"--model alpha: weights not at hand; looked in {weights}",
        "empty": f"--model alpha: {weights}: is empty; the weights were never copied there",
        "broken": f"--model alpha: {weights / 'config.json'}: is broken (JSONDecodeError",
    }
    suite.run("--model=alpha").assert_usage_error(said[what])


def test_a_profile_with_a_wrong_type(suite):
    path = suite.profile()
    path.write_text(path.read_text().replace("images = 4", 'images = "four"'))
    done = suite.run()
    done.assert_usage_error(f"{path}: deployments[0].images: ", "(seen: 'four')")


@pytest.mark.parametrize("what", ["missing", "no vLLM", "not Python"])
def test_an_engine_interpreter_of_no_use(suite, what):
    suite.profile()
    python = suite.folder / "other-python"
    if what == "no vLLM":
        python.symlink_to(sys.executable)
    if what == "not Python":
        python.write_text("#!/bin/sh\necho hello\n")
        python.chmod(0o755)
    said = {
        "missing": f"engine interpreter {python}: no such file",
        "no vLLM": f"{python} has no vLLM",
        "not Python": f"{python} is not a Python interpreter that works",
    }
    suite.run(f"--engine-python={python}").assert_usage_error(
        said[what], "--engine-python=PATH", "--endpoint=URL --model=PROFILE"
    )


def test_a_report_directory_that_is_a_file(suite):
    suite.profile()
    (suite.folder / "taken").touch()
    suite.run("--conformance-report=taken").assert_usage_error(
        f"--conformance-report {suite.folder / 'taken'}: is a file"
    )


def test_a_report_directory_that_cannot_be_made(suite):
    suite.profile()
    suite.run("--conformance-report=/proc/here").assert_usage_error(
        "--conformance-report /proc/here: cannot be made"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only directories")
def test_a_read_only_report_directory(suite):
    suite.profile()
    suite.report.mkdir(mode=0o555)
    suite.run(f"--conformance-report={suite.report}").assert_usage_error(
        f"--conformance-report {suite.report}: a trial file"
    )


def test_a_folder_of_profiles_mistaken_for_the_root(suite, tmp_path):
    vendor = tmp_path / "vendor"
    vendor.mkdir()
    (vendor / "pytest.ini").write_text("[pytest]\n")
    suite.run("--profiles", str(vendor)).assert_usage_error(
        f"--profiles {vendor}: pytest took {vendor} for the folder to test; write it as "
        f"--profiles={vendor}"
    )


def test_a_key_without_an_endpoint(suite):
    suite.profile()
    suite.run("--api-key-env=KEY").assert_usage_error(
        "--api-key-env names the key of an --endpoint"
    )


def test_a_requirement_that_is_not_in_the_catalogue(suite):
    suite.profile()
    tests = suite.suite / "test_suite.py"
    tests.write_text(tests.read_text().replace("QVL-ENV-001", "QVL-ENV-999"))
    done = suite.run()
    assert done.code == 4, done.all
    assert "decides QVL-ENV-999, which is not in" in done.all


# What a run does.


def test_a_healthy_run(suite):
    suite.profile("alpha")
    suite.profile("beta")
    done = suite.run(f"--conformance-report={suite.report}", "--junitxml=junit.xml")
    assert done.code == 0, done.all
    assert "7 passed" in done.outcomes(), done.out
    report = suite.read_report()
    assert report["verdict"] == "CONFORMANT"
    assert report["complete"]
    assert report["scope"] == ""
    started = Counter((it["model"], it["kind"]) for it in report["engines"])
    assert started == {("alpha", "serve"): 1, ("beta", "serve"): 1}
    junit = (suite.folder / "junit.xml").read_text()
    for requirement in ("QVL-ENV-001", "QVL-SRV-001", "QVL-SRV-002"):
        assert f'value="{requirement}"' in junit
    assert suite.processes() == []


def test_the_same_with_two_workers(suite):
    suite.profile("alpha")
    suite.profile("beta", "exits-1")
    one = suite.run(f"--conformance-report={suite.folder / 'one'}")
    two = suite.run("-n2", f"--conformance-report={suite.folder / 'two'}")
    assert one.code == two.code == 1, two.all
    reports = [
        json.loads((suite.folder / name / "report.json").read_text()) for name in ("one", "two")
    ]
    first, second = (
        {(it["test"], it["model"], it["requirement"], it["outcome"]) for it in report["results"]}
        for report in reports
    )
    assert first == second
    for key in ("verdict", "model_verdicts", "verdict_sentence"):
        assert reports[0][key] == reports[1][key]
    assert sorted(reports[0]["planned"]) == sorted(reports[1]["planned"])
    for report in reports:
        started = Counter(it["model"] for it in report["engines"])
        assert started == {"alpha": 1, "beta": 1}
        assert report["complete"]
    assert two.out.count("Qwen-VL conformance =") == 1
    workers = {(it["model"], it["worker"]) for it in reports[1]["results"] if it["model"]}
    assert len(workers) == 2, "each model on one worker"


NOTED = """
import time
import pytest

@pytest.mark.serve
@pytest.mark.deployment_mode("offline")
def test_offline_begins(deployment, engine_session):
    time.sleep(1)  # long enough for the other worker to be wrong
    (engine_session.directory_of(deployment) / "noted").write_text(engine_session.run_id)

@pytest.mark.serve
@pytest.mark.deployment_mode("serve")
def test_served_comes_after(deployment, engine_session):
    noted = engine_session.run_directory / "alpha" / "offline-1npu" / "noted"
    assert noted.read_text() == engine_session.run_id
"""


def test_served_deployments_wait_for_the_offline_one_on_another_worker(suite):
    suite.profile("alpha", deployments=[("offline", 1), ("serve", 1)])
    (suite.suite / "test_noted.py").write_text(NOTED)
    done = suite.run("-n2", "-k", "begins or comes_after")
    assert done.code == 0, done.all
    assert "2 passed" in done.outcomes()


@pytest.mark.parametrize("how", ["load", "loadgroup", "loadscope", "each", "worksteal"])
def test_every_way_to_distribute_tests_ends(suite, how):
    suite.profile("alpha")
    done = suite.run("-n2", f"--dist={how}", "-m", "environment")
    assert done.code == 0, done.all
    assert f"{2 if how == 'each' else 1} passed" in done.outcomes()


@pytest.mark.parametrize("code", [0, 1])
def test_an_engine_that_exits_at_once(suite, code):
    suite.profile("alpha", f"exits-{code}")
    done = suite.run(f"--conformance-report={suite.report}")
    assert done.code == 1, done.all
    results = {it["requirement"]: it for it in suite.read_report()["results"]}
    assert results["QVL-SRV-001"]["outcome"] == "FAIL"
    assert f"ended with exit code {code} before it was ready" in results["QVL-SRV-001"]["reason"]
    assert "Starting to load model" in results["QVL-SRV-001"]["reason"]
    assert results["QVL-SRV-002"]["outcome"] == "ERROR"
    assert "did not start (see the first failure)" in results["QVL-SRV-002"]["reason"]
    assert suite.read_report()["verdict"] == "NON-CONFORMANT"
    assert suite.processes() == []


def test_an_engine_that_hangs(suite):
    suite.profile("alpha", "hangs", "has-family", start_timeout=3.0)
    done = suite.run(f"--conformance-report={suite.report}")
    assert done.code == 1, done.all
    results = {it["requirement"]: it for it in suite.read_report()["results"]}
    assert "hung: not ready within 3 s" in results["QVL-SRV-001"]["reason"]
    assert suite.processes() == []


def test_an_engine_that_dies_during_a_test(suite):
    suite.profile("alpha", "dies-on-describe")
    done = suite.run(f"--conformance-report={suite.report}")
    assert done.code == 1, done.all
    seen = Counter((it["requirement"], it["outcome"]) for it in suite.read_report()["results"])
    assert seen["QVL-SRV-001", "PASS"] == 1
    assert seen["QVL-SRV-002", "PASS"] == seen["QVL-SRV-002", "FAIL"] == 1
    (failed,) = (it for it in suite.read_report()["results"] if it["outcome"] == "FAIL")
    assert "is gone: it ended with exit code 9" in failed["reason"]
    assert "stand-in engine: dying" in failed["reason"] + failed["log"]


@pytest.mark.parametrize(
    ("arguments", "scope"),
    [
        (("-m", "serve"), "-m serve"),
        (("-k", "starts"), "-k starts"),
        (("suite/test_suite.py::test_host",), "suite/test_suite.py::test_host"),
    ],
)
def test_a_narrowed_run_names_its_scope(suite, arguments, scope):
    suite.profile()
    done = suite.run(*arguments, f"--conformance-report={suite.report}")
    assert done.code == 0, done.all
    report = suite.read_report()
    assert report["scope"] == scope
    assert f"within `{scope}`" in report["verdict_sentence"]


def test_deployments_that_do_not_fit_keep_a_run_from_conformant(suite):
    suite.profile("alpha", deployments=[("serve", 1), ("serve", 2)])
    done = suite.run("--npus=1", f"--conformance-report={suite.report}")
    report = suite.read_report()
    assert done.code == 0, done.all
    assert report["verdict"] == "PARTIAL"
    assert "serve-2npu" in report["verdict_sentence"]


def test_a_disk_that_fills_up_leaves_the_last_report(suite):
    suite.profile()
    (suite.folder / "conftest.py").write_text(
        "import errno, os, pytest\n"
        "really = os.replace\n"
        "def refuse(source, target, **more):\n"
        "    if str(target).endswith('report.json'):\n"
        "        raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "    return really(source, target, **more)\n"
        "@pytest.fixture(autouse=True, scope='session')\n"
        "def full_disk():\n"
        "    os.replace = refuse\n"
        "    yield\n"
    )
    done = suite.run(f"--conformance-report={suite.report}")
    assert done.code == 0, done.all
    assert "No space left on device" in " ".join(done.all.split())
    assert not suite.read_report()["complete"]


# What a run leaves alone.


def test_collecting_imports_nothing_heavy(suite):
    suite.profile(latency=True)
    script = (
        "import sys, pytest\n"
        "code = pytest.main(['--collect-only', '-q'])\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert code == 0, code\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=suite.folder,
        env=suite.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_load[alpha/serve-1npu/text]" in done.stdout
    assert not suite.report.exists()
    assert not suite.locks.exists()


def test_collecting_needs_no_engine(suite):
    suite.profile()
    done = suite.run("--collect-only", "-q", "--engine-python=/nonexistent/python")
    assert done.code == 0, done.all


def test_an_unrelated_project_is_left_alone(tmp_path, suite):
    project = tmp_path / "unrelated"
    project.mkdir()
    (project / "test_it.py").write_text("def test_it(tmp_path):\n    assert tmp_path\n")
    before = {path.name for path in (suite.folder / "tmp").iterdir()}
    for arguments in ((), ("-n2",)):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=project,
            env=suite.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "qwenvl:" not in done.stdout
        assert "Qwen-VL" not in done.stdout
        assert done.stderr == ""
    assert {path.name for path in project.iterdir()} <= {"test_it.py", "__pycache__"}
    after = {path.name for path in (suite.folder / "tmp").iterdir()} - before
    assert not any("qwenvl" in name for name in after), after


def test_another_interpreter_by_a_relative_ini_path(suite):
    suite.profile()
    stand_in_python(suite.folder / "relative")
    ini = suite.folder / "pytest.ini"
    ini.write_text(ini.read_text().replace(str(suite.python), "relative/python"))
    (suite.folder / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "../pytest.ini", "../suite", "-m", "environment"],
        cwd=suite.folder / "elsewhere",
        env=suite.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
