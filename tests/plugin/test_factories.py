"""Fixtures that suites make for themselves: an engine of a deployment that is named."""

from __future__ import annotations

import pytest

HEAD = """\
import pytest
from pytest_qwenvl.factories import qwenvl_offline_llm, qwenvl_server
"""


def run(suite, tests, *arguments, npus=2):
    (suite.folder / "test_own.py").write_text(HEAD + tests)
    return suite.run(
        "test_own.py",
        f"--npus={npus}",
        f"--conformance-report={suite.report}",
        *arguments,
    )


def test_settings_that_no_profile_has(suite):
    suite.profile()
    done = run(
        suite,
        """
small = qwenvl_server("alpha", arguments={"max_num_seqs": 7}, environment={"OWN": "1"})

def test_answers(small):
    answer = small.request("GET", "/v1/models")
    assert answer.status_code == 200
    assert answer.json()["data"][0]["id"] == small.model

def test_shares_it(small, engine_session):
    argv = small.launch.argv
    assert argv[argv.index("--max-num-seqs") + 1] == "7"
    assert small.launch.environment["OWN"] == "1"
    assert engine_session.holding == {"alpha/serve-1npu~1": 1}
""",
    )
    assert done.code == 0, done.all
    assert "2 passed" in done.all


def test_two_at_once_on_devices_of_their_own(suite):
    suite.profile()
    done = run(
        suite,
        """
one, other = qwenvl_server("alpha"), qwenvl_server("alpha")

def test_both_answer(one, other, engine_session):
    assert one.base_url != other.base_url
    for server in (one, other):
        assert server.request("GET", "/health").status_code == 200
    assert engine_session.holding == {"alpha/serve-1npu~1": 1, "alpha/serve-1npu~2": 1}
""",
    )
    assert done.code == 0, done.all


def test_it_ends_with_its_scope(suite):
    suite.profile()
    done = run(
        suite,
        """
one = qwenvl_server("alpha", scope="function")
seen = []

def test_first(one):
    seen.append(one)

def test_second(one, engine_session):
    assert one is not seen[0]
    assert seen[0].process.poll() is not None
    assert list(engine_session.holding) == ["alpha/serve-1npu~2"]
""",
        npus=1,
    )
    assert done.code == 0, done.all


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ('qwenvl_server("alpah")', "no profile is called 'alpah'; did you mean 'alpha'?"),
        ('qwenvl_server("alpha", "serve-9npu")', "alpha has no deployment 'serve-9npu' of mode"),
        ('qwenvl_offline_llm("alpha", "serve-1npu")', "no deployment 'serve-1npu' of mode 'off"),
        ('qwenvl_server("alpha", arguments={"no_such": 1})', "`vllm serve` has no --no-such"),
    ],
)
def test_what_cannot_be_had(suite, asked, said):
    suite.profile()
    done = run(suite, f"one = {asked}\ndef test_it(one): pass\n")
    assert done.code == 1, done.all
    assert said in " ".join(done.all.split())


def test_more_than_the_run_may_hold_is_said_instead_of_waited_for(suite):
    suite.profile()
    done = run(
        suite,
        """
one, other = qwenvl_server("alpha"), qwenvl_server("alpha")

def test_both(one, other):
    pass
""",
        npus=1,
    )
    assert done.code == 1, done.all
    said = " ".join(done.all.split())
    assert "needs 1 devices beside the 1 that alpha/serve-1npu~1 holds here" in said
    assert "the run may hold 1" in said
