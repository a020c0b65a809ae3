"""Hosts that could not share a verdict are named before anything is placed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.fleet.agreement import check_agreement
from pytest_qwenvl.fleet.facts import Facts, suite_digest

HEAD = Facts("3.11.7", "2.60.0", "0.1", "a" * 64)
HOST = replace(HEAD, engine={"vllm": "0.32.0"}, hardware="a2", weights={"m": "sha256:" + "1" * 64})


def refused(hosts, *words):
    with pytest.raises(UsageProblem) as caught:
        check_agreement(HEAD, hosts, ["m"])
    for word in words:
        assert word in str(caught.value)


def test_hosts_that_agree_and_one_without_the_weights():
    without = replace(HOST, weights={}, missing={"m": "looked in /weights"})
    lines = check_agreement(HEAD, {"one": HOST, "two": without}, ["m"])
    assert [line.split()[0] for line in lines] == ["host", "head", "one", "two"]
    assert lines[2].split()[-1].startswith("sha256:111")
    assert lines[3].split()[-1] == "missing"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"python": "3.12.1"}, "two: Python 3.12, the head has 3.11"),
        ({"ray": "2.59.0"}, "two: Ray 2.59.0, the head has 2.60.0"),
        ({"pytest_qwenvl": "0.2"}, "two: pytest-qwenvl 0.2, the head has 0.1"),
        ({"suite_digest": "b" * 64}, "two: suite bbbbbbbbbbbb, the head has aaaaaaaaaaaa"),
        ({"suite_digest": ""}, "two: suite none"),
        ({"engine": {"vllm": "0.23.0"}}, "vllm 0.23.0"),
        ({"engine": {}, "engine_problem": "no vLLM: install it"}, "two: no vLLM: install it"),
    ],
)
def test_what_must_be_equal(changes, words):
    refused({"one": HOST, "two": replace(HOST, **changes), "three": HOST}, words, "what they have:")


def test_patch_releases_of_python_may_differ():
    check_agreement(HEAD, {"one": replace(HOST, python="3.11.2")}, ["m"])


def test_different_weights_on_two_nodes():
    other = replace(HOST, weights={"m": "sha256:" + "2" * 64})
    refused(
        {"one": HOST, "two": other, "three": HOST},
        "m: different weights: sha256:111111111111 on one, three; sha256:222222222222 on two",
    )


def test_a_host_that_cannot_be_asked():
    refused({"one": HOST, "two": "ModuleNotFoundError: No module named 'pytest_qwenvl'"},
            "two: cannot be asked: ModuleNotFoundError")  # fmt: skip


def test_the_suites_digest_is_of_what_judges(tmp_path):
    (tmp_path / "test_a.py").write_text("one")
    first = suite_digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.py").write_text("made by Python")
    (tmp_path / "notes.txt").write_text("nobody reads them")
    assert suite_digest(tmp_path) == first
    (tmp_path / "test_a.py").write_text("two")
    assert suite_digest(tmp_path) != first
    assert suite_digest(tmp_path / "nowhere") == ""
