"""What a vendor's conftest.py adds to a run through hooks, and what is refused of it."""

from __future__ import annotations

import pytest

SETTINGS = "from pytest_qwenvl.added_settings import EngineSettings\n"


def conftest(suite, text):
    (suite.folder / "conftest.py").write_text(text)


def report(suite, *arguments):
    done = suite.run(f"--conformance-report={suite.report}", *arguments)
    return done, suite.read_report()


def test_facts_settings_and_fields_are_in_the_report(suite):
    suite.profile()
    conftest(
        suite,
        SETTINGS
        + """
def pytest_qwenvl_environment():
    return {"rack": "B7", "board": {"firmware": [1, 2]}}

def pytest_qwenvl_engine_settings(profile, deployment, backend):
    assert (profile.name, deployment.mode, backend) == ("alpha", "serve", "cpu")
    return EngineSettings(arguments={"max_num_seqs": 7}, environment={"ACME_MODE": "fast"})

def pytest_qwenvl_report_fields(asked, run):
    return {"results": len(run.results), "models": [it.model for it in run.model_verdicts]}
""",
    )
    done, run = report(suite)
    assert done.code == 0, done.all
    assert run["verdict"] == "CONFORMANT"
    assert (run["host"]["rack"], run["host"]["board"]) == ("B7", {"firmware": [1, 2]})
    assert run["host"]["cores"] > 0
    assert run["extensions"] == {
        "conftest.py": {
            "environment": ["rack", "board"],
            "settings": {"alpha/serve-1npu": ["max_num_seqs", "ACME_MODE"]},
            "fields": {"results": 4, "models": ["host", "alpha"]},
        }
    }
    (engine,) = run["engines"]
    assert engine["argv"][engine["argv"].index("--max-num-seqs") + 1] == "7"
    assert engine["environment"]["ACME_MODE"] == "fast"
    # The profile in the report is the profile's file, without what a plugin added.
    assert "max_num_seqs" not in run["profiles"]["alpha"]["deployments"][0]["arguments"]


def test_a_run_without_plugins_has_no_extensions(suite):
    suite.profile()
    _, run = report(suite, "-m", "environment")
    assert run["extensions"] == {}


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (
            "def pytest_qwenvl_environment():\n    raise OSError('no such bus')",
            "plugin conftest.py: pytest_qwenvl_environment raised OSError: no such bus",
        ),
        (
            "def pytest_qwenvl_environment():\n    return ['rack']",
            "needs a mapping with names as keys, answered list ['rack']",
        ),
        (
            "def pytest_qwenvl_environment():\n    return {'rack': object}",
            "'rack' is no JSON value",
        ),
        (
            "def pytest_qwenvl_environment():\n    return {'load': float('nan')}",
            "'load' is no JSON value",
        ),
        (
            "def pytest_qwenvl_environment():\n    return {'kernel': '7'}",
            "'kernel' is reported by the suite itself; use another name",
        ),
        (
            "def pytest_qwenvl_engine_settings():\n    return {'arguments': {}}",
            "plugin conftest.py: pytest_qwenvl_engine_settings: needs an EngineSettings, "
            "answered dict",
        ),
        (
            SETTINGS + "def pytest_qwenvl_engine_settings():\n"
            "    return EngineSettings(arguments={'max_model_len': 1})",
            "max_model_len is set by the profile of alpha/serve-1npu; change it there, with an "
            "overlay",
        ),
        (
            SETTINGS + "def pytest_qwenvl_engine_settings():\n"
            "    return EngineSettings(arguments={'max-model-len': 1})",
            "max-model-len: write max_model_len, as profiles do",
        ),
        (
            SETTINGS + "def pytest_qwenvl_engine_settings():\n"
            "    return EngineSettings(environment={'STAND_IN': ''})",
            "STAND_IN is set by the profile of alpha/serve-1npu",
        ),
        (
            SETTINGS + "def pytest_qwenvl_engine_settings():\n"
            "    return EngineSettings(environment={'ASCEND_RT_VISIBLE_DEVICES': '0'})",
            "ASCEND_RT_VISIBLE_DEVICES is the suite's to set, from the lease and the profile",
        ),
        (
            SETTINGS + "def pytest_qwenvl_engine_settings():\n"
            "    return EngineSettings(environment={'A': 1})",
            "pytest_qwenvl_engine_settings raised ValidationError",
        ),
        (
            "import pytest\n@pytest.hookimpl(wrapper=True)\n"
            "def pytest_qwenvl_environment():\n    return (yield)",
            "must answer itself, and not wrap others",
        ),
    ],
)
def test_what_is_refused_before_anything_is_started(suite, hook, said):
    suite.profile()
    conftest(suite, hook)
    done = suite.run(f"--conformance-report={suite.report}")
    done.assert_usage_error(said)
    assert "plugin conftest.py: " in done.all
    assert not (suite.report / "engines").exists()


def test_two_plugins_that_say_different_things(suite):
    suite.profile()
    conftest(suite, "def pytest_qwenvl_environment():\n    return {'rack': 'B7'}")
    (suite.folder / "acme.py").write_text(
        "def pytest_qwenvl_environment():\n    return {'rack': 'C1'}"
    )
    done = suite.run("-p", "acme", PYTHONPATH=str(suite.folder))
    done.assert_usage_error("'rack' is told by plugin")
    assert "acme" in done.all


def test_an_added_argument_that_the_engine_does_not_have(suite):
    suite.profile()
    conftest(
        suite,
        SETTINGS + "def pytest_qwenvl_engine_settings():\n"
        "    return EngineSettings(arguments={'max_num_seq': 1})",
    )
    suite.run().assert_usage_error(
        "did you mean 'max_num_seqs'?", "added by plugins: max_num_seq (conftest.py)"
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise OSError('no tracker')", " raised OSError: no tracker"),
        ("return 'ticket 7'", ": needs a mapping with names as keys, answered str 'ticket 7'"),
        ("return {'ticket': {7}}", ": 'ticket' is no JSON value"),
    ],
)
def test_fields_that_cannot_be_had_cost_no_result(suite, body, said):
    suite.profile()
    conftest(suite, f"def pytest_qwenvl_report_fields():\n    {body}")
    done, run = report(suite, "-m", "environment")
    assert done.code == 4
    assert "Traceback" not in done.all
    assert f"ERROR: plugin conftest.py: pytest_qwenvl_report_fields{said}" in done.out
    assert (run["complete"], run["exit_status"], run["interrupted"]) == (True, 0, "")
    assert [it["outcome"] for it in run["results"]] == ["PASS"]
    assert any(said in note for note in run["notes"])


def test_secrets_in_fields_are_taken_out(suite):
    suite.profile()
    conftest(suite, "def pytest_qwenvl_report_fields():\n    return {'ticket': 'with s3cr3t-key'}")
    _, run = report(suite, "-m", "environment")
    assert run["extensions"]["conftest.py"]["fields"] == {"ticket": "with s3cr3t-key"}
    suite.environment["VLLM_API_KEY"] = "s3cr3t-key"
    _, run = report(suite, "-m", "environment")
    assert run["extensions"]["conftest.py"]["fields"] == {"ticket": "with [redacted]"}


def test_workers_start_engines_with_what_was_added(suite):
    suite.profile()
    conftest(
        suite,
        SETTINGS + "def pytest_qwenvl_engine_settings():\n"
        "    return EngineSettings(arguments={'max_num_seqs': 7})",
    )
    done, run = report(suite, "-n2")
    assert done.code == 0, done.all
    (engine,) = run["engines"]
    assert "--max-num-seqs" in engine["argv"]
    assert run["extensions"]["conftest.py"]["settings"] == {"alpha/serve-1npu": ["max_num_seqs"]}
