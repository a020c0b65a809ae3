"""No Ray, no cluster, another version: said within seconds, and what to do."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_qwenvl.cli import main
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.fleet import connecting

# What Ray says, by its class and the beginning of its words, where versions differ.
RAY = """\
def init(**options):
    raise RuntimeError(
        "Version mismatch: The cluster was started with:\\n    Ray: 2.59.0\\n    Python: 3.11.2\\n"
        "This process on 10.0.0.1 was started with:\\n    Ray: 2.60.0\\n    Python: 3.11.7\\n"
    )
"""


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_no_ray_is_installed(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ray" else found(name)
    )
    with pytest.raises(UsageProblem, match=r"pip install 'pytest-qwenvl\[fleet\]'"):
        connecting.connect("127.0.0.1:6379")


def test_nothing_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(UsageProblem, match=f"--address {address}: nothing answers there"):
        connecting.connect(address)


@pytest.mark.parametrize("address", ["ray://host:10001", "host", "host:", ":6379", "host:port"])
def test_no_address_of_a_cluster(address):
    with pytest.raises(UsageProblem, match=r"needs HOST:PORT of the cluster's head"):
        connecting.connect(address)


def test_what_listens_is_no_cluster(listening, monkeypatch):
    monkeypatch.setattr(connecting, "TRIAL_SECONDS", 3.0)
    with pytest.raises(UsageProblem, match="no Ray cluster that could be joined within 3 s"):
        connecting.connect(listening)


def test_another_version_of_ray(listening, monkeypatch, tmp_path):
    (tmp_path / "ray.py").write_text(RAY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UsageProblem) as caught:
        connecting.connect(listening)
    assert "Ray: 2.59.0" in str(caught.value) and "Ray: 2.60.0" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_plain_runs_never_import_ray():
    code = "import sys, pytest_qwenvl.plugin, pytest_qwenvl.cli; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--attempts=0"], "--attempts 0: needs 1 or more"),
        (["--", "-n2"], "without -n"),
        (["--", "--npuss=2"], "pytest refuses these arguments"),
        (["--", "--model=nobody"], "--model nobody: matches no profile"),
        (["--", "--model=a", "--endpoint=http://x"], "--endpoint is one server"),
        (["--", "--collect-only"], "--collect-only runs nothing"),
        (["--resume", "--durations=/nowhere"], "/nowhere: no such file"),
    ],
)
def test_arguments_that_make_no_fleet(arguments, words, suite, monkeypatch, capsys):
    suite.profile("a")
    monkeypatch.chdir(suite.folder)
    given = [*arguments, *([] if "--" in arguments else ["--"])]
    report = f"--conformance-report={suite.report}"
    code = main(["fleet", "--address=127.0.0.1:1", *given, report])
    said = capsys.readouterr().err
    assert code == 2, said
    assert " ".join(words.split()) in " ".join(said.split())
    assert "Traceback" not in said
    assert not Path(suite.report).exists()


def test_a_run_of_one_host_is_not_continued_by_a_fleet(suite, monkeypatch, capsys):
    suite.profile("a")
    monkeypatch.chdir(suite.folder)
    code = main(["fleet", "--address=127.0.0.1:1", "--", f"--resume={suite.report}"])
    said = " ".join(capsys.readouterr().err.split())
    assert code == 2, said
    assert "--resume after -- continues a run of one host; write it before --" in said
