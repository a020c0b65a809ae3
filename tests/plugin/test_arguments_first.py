from __future__ import annotations

import shlex

import pytest


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_wrong_argument_ends_the_run_before_anything_is_started(suite, workers):
    file = suite.profile("alpha", deployments=(("serve", 1), ("offline", 1)))
    text = file.read_text()
    file.write_text(text.replace("max_model_len = 4096", "max_modellen = 4096"))
    done = suite.run(*workers, f"--conformance-report={suite.report}")
    done.assert_usage_error(
        "alpha/serve-1npu: vLLM 0.32.0+cpu does not accept",
        f"{file}: max_modellen: `vllm serve` has no --max-modellen; did you mean 'max_model_len'?",
        "Nothing was started",
    )
    assert not list(suite.report.rglob("server.log"))
    assert suite.processes() == []


def test_a_wrong_value_is_refused_in_the_parsers_own_words(suite):
    file = suite.profile("alpha")
    file.write_text(file.read_text().replace("max_model_len = 4096", 'max_model_len = "long"'))
    done = suite.run()
    done.assert_usage_error(
        "max_model_len: 'long' has none of the forms",
        "its own words: vllm serve: error: argument --max-model-len: invalid int value: 'long'",
    )


def test_only_what_the_run_starts_is_checked(suite):
    file = suite.profile("alpha", deployments=(("serve", 1), ("offline", 1)))
    head, offline = file.read_text().split('name = "offline-1npu"')
    file.write_text(
        f'{head}name = "offline-1npu"{offline.replace("max_model_len", "max_modellen")}'
    )
    assert suite.run("-k", "test_starts").code == 0
    assert suite.run("--collect-only").code == 0


def test_an_engine_that_cannot_say_what_it_accepts_is_started_all_the_same(suite):
    suite.profile("alpha")
    stand_in = suite.python.rename(suite.python.with_name("stand-in"))
    suite.python.write_text(
        "#!/bin/sh\n"
        'case "$1" in *accepted_worker.py) echo no parser here; exit 3;; esac\n'
        f'exec {shlex.quote(str(stand_in))} "$@"\n'
    )
    suite.python.chmod(0o755)
    done = suite.run("-k", "test_starts")
    assert done.code == 0, done.all
    assert "qwenvl: engine arguments were not checked: " in done.out
    assert "ended with exit code 3 and said:\nno parser here" in done.out
