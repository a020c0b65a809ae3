"""What a vendor's conftest.py adds to a run through hooks, and what is refused of it."""

from __future__ import annotations

import pytest

from pytest_qwenvl.cli import main

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


CHECK = """
from pytest_qwenvl.preflight.checks import Check
from pytest_qwenvl.preflight.finding import Examined, Finding

def look(host, table):
    found = host.environment.get("ACME_BUS", "none")
    if found == "broken":
        raise KeyError("bus")
    if found == "of another kind":
        return found
    wrong = Finding("ACME-ENV-001", f"bus {found}", "bus 3", "set ACME_BUS=3")
    return Examined(f"bus {found}", () if found == "3" else (wrong,))

def pytest_qwenvl_preflight_checks():
    return {"ACME-ENV-001": Check("the bus", look)}
"""
REQUIREMENT = """
[[requirement]]
id = "ACME-ENV-001"
group = "environment"
level = "core"
since = "0.1"
must = "The bus MUST be of version 3."
rationale = "a test"
source = "a test"
"""


def with_check(suite):
    conftest(suite, CHECK)
    catalogue = suite.suite / "requirements.toml"
    catalogue.write_text(catalogue.read_text() + REQUIREMENT)
    (suite.suite / "test_acme.py").write_text(
        "import pytest\n"
        "@pytest.mark.environment\n"
        "@pytest.mark.requirement('ACME-ENV-001')\n"
        "def test_bus(preflight):\n"
        "    preflight('ACME-ENV-001')\n"
    )
    suite.profile()


@pytest.mark.parametrize(
    ("bus", "outcome", "said"),
    [
        ("3", "PASS", ""),
        ("2", "FAIL", "seen bus 2; expected bus 3; set ACME_BUS=3"),
        ("broken", "ERROR", "the check of ACME-ENV-001 (the bus)"),
        ("of another kind", "ERROR", "needs to return an Examined, returned str"),
    ],
)
def test_a_requirement_of_ones_own_decided_by_a_check(suite, bus, outcome, said):
    with_check(suite)
    suite.environment["ACME_BUS"] = bus
    _, run = report(suite, "-k", "test_bus")
    (result,) = run["results"]
    assert (result["requirement"], result["outcome"]) == ("ACME-ENV-001", outcome)
    assert said in result["reason"]
    if outcome in {"PASS", "FAIL"}:
        assert result["evidence"]["seen"] == f"bus {bus}"


def test_a_shipped_check_is_not_replaced(suite):
    with_check(suite)
    conftest(suite, CHECK.replace("ACME-ENV-001", "QVL-ENV-001"))
    _, run = report(suite, "-k", "test_bus")
    assert "'QVL-ENV-001' is the suite's own; use another name" in run["results"][0]["reason"]


def test_doctor_makes_checks_of_plugins(tmp_path, monkeypatch, capsys):
    (tmp_path / "conftest.py").write_text(CHECK)
    monkeypatch.setenv("ACME_BUS", "2")
    arguments = ["doctor", "--backend=cpu", "--model=qwen3-vl-tiny"]
    main(arguments)
    assert "ACME-ENV-001" not in capsys.readouterr().out
    assert main([*arguments, f"--plugin={tmp_path / 'conftest.py'}"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "FINDING ACME-ENV-001 the bus" in out
    assert "seen bus 2 expected bus 3 remedy set ACME_BUS=3" in out


def explained(arguments, capsys):
    code = main(["explain", "qwen3-vl-8b-instruct/serve-1npu", "--vllm-ascend=0.23.0", *arguments])
    return code, capsys.readouterr()


def test_explain_shows_what_plugins_add(tmp_path, capsys):
    plugin = tmp_path / "acme_plugin.py"
    plugin.write_text(
        SETTINGS + "def pytest_qwenvl_engine_settings(asked, backend):\n"
        "    return EngineSettings(\n"
        "        arguments={'data_parallel_backend': asked.backend},\n"
        "        environment={'ACME_MODE': 'fast'})\n"
    )
    code, before = explained([], capsys)
    assert code == 0
    assert "ACME_MODE" not in before.out
    code, shown = explained([f"--plugin={plugin}"], capsys)
    assert code == 0
    assert "--data-parallel-backend npu" in shown.out
    assert "ACME_MODE=fast" in shown.out
    assert "# ACME_MODE is added by plugin " in shown.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_thing", "cannot be imported: ModuleNotFoundError"),
        (
            SETTINGS + "def pytest_qwenvl_engine_settings():\n"
            "    return EngineSettings(environment={'VLLM_USE_MODELSCOPE': 'True'})",
            "VLLM_USE_MODELSCOPE is the suite's to set",
        ),
    ],
)
def test_explain_refuses_what_a_run_would(tmp_path, capsys, text, said):
    plugin = tmp_path / "acme_broken.py"
    plugin.write_text(text)
    code, shown = explained([f"--plugin={plugin}"], capsys)
    assert code == 2
    assert said in shown.err


def test_explain_names_a_plugin_that_is_not_there(capsys):
    code, shown = explained(["--plugin=acme_absent"], capsys)
    assert code == 2
    assert "--plugin acme_absent: cannot be imported: ModuleNotFoundError" in shown.err
