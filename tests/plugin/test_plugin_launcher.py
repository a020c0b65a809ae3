"""A launcher that a vendor's conftest.py brings, and what is refused of one."""

from __future__ import annotations

import pytest

LAUNCHER = """
from dataclasses import replace
from pytest_qwenvl.errors import UsageProblem

class Nice:
    def __init__(self, context):
        self.context = context

    def check(self):
        {check}

    def contain(self, kind, planned, lease):
        return lambda launch: {launch}

def pytest_qwenvl_launchers():
    return {{"nice": {factory}}}
"""
WRAPPED = "replace(launch, argv=('/usr/bin/env', 'ACME_KIND=' + kind, *launch.argv))"


def with_launcher(suite, check="pass", launch=WRAPPED, factory="Nice"):
    suite.profile()
    text = LAUNCHER.format(check=check, launch=launch, factory=factory)
    (suite.folder / "conftest.py").write_text(text)


def test_engines_are_started_as_the_launcher_says(suite):
    with_launcher(suite)
    done = suite.run("--launcher=nice", "-m", "serve", f"--conformance-report={suite.report}")
    assert done.code == 0, done.all
    run = suite.read_report()
    assert run["verdict"] == "CONFORMANT"
    (engine,) = run["engines"]
    assert engine["argv"][:2] == ["/usr/bin/env", "ACME_KIND=serve"]
    assert suite.processes() == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"check": "raise UsageProblem('no queue; start one')"}, "nice: no queue; start one"),
        ({"check": "raise OSError('no queue')"}, "nice: check() raised OSError: no queue"),
        ({"factory": "lambda context: 1 / 0"}, "could not make it (pytest_qwenvl_launchers)"),
        ({"factory": "lambda context: 'nice'"}, "made a str, which has no check() and contain()"),
        ({"factory": "'nice'"}, "'nice' needs what makes a launcher, is str 'nice'"),
    ],
)
def test_what_is_refused_before_anything_is_started(suite, wrong, said):
    with_launcher(suite, **wrong)
    suite.run("--launcher=nice").assert_usage_error(said)


@pytest.mark.parametrize(
    ("launch", "said"),
    [("None", "contain() gave a NoneType for a Launch"), ("1 / 0", "raised ZeroDivisionError")],
)
def test_a_command_that_cannot_be_made_is_no_pass(suite, launch, said):
    with_launcher(suite, launch=launch)
    done = suite.run("--launcher=nice", "-m", "serve", f"--conformance-report={suite.report}")
    assert done.code == 1, done.all
    run = suite.read_report()
    assert run["verdict"] != "CONFORMANT"
    assert any(said in it["reason"] for it in run["results"])


def test_a_name_that_nobody_has(suite):
    with_launcher(suite)
    suite.run("--launcher=nise").assert_usage_error(
        "--launcher nise: needs one of local, container, nice; did you mean 'nice'?"
    )


def test_no_launcher_for_an_attached_server(suite):
    with_launcher(suite)
    done = suite.run("--launcher=nice", "--endpoint=http://127.0.0.1:9", "--model=alpha")
    done.assert_usage_error("--launcher=nice and --endpoint: an attached server is not started")
