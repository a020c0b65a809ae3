"""Runs with ``--launcher=container``, against something that plays docker's client."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.engines import fake_docker as docker
from tests.engines.support import wait_until
from tests.plugin.suite import Running, Suite

CONTAINED = ("--launcher=container", f"--image={docker.IMAGE}")


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    suite = Suite(tmp_path)
    suite.profile()
    state = tmp_path / "docker-state"
    state.mkdir()
    docker.install(tmp_path / "docker-bin")
    suite.environment["PATH"] = f"{tmp_path / 'docker-bin'}{os.pathsep}{os.environ['PATH']}"
    suite.environment["FAKE_DOCKER"] = str(state)
    return suite


def calls(suite: Suite) -> list[list[str]]:
    path = suite.folder / "docker-state" / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def containers(suite: Suite) -> list[str]:
    return [path.stem for path in (suite.folder / "docker-state").glob("*.pid")]


def wait_for_a_test(run: Running) -> None:
    """Two requests tell that the engine is ready; the third is the first test's."""
    log = run.suite.report / "engines" / "alpha" / "serve-1npu" / "server.log"
    wait_until(lambda: log.exists() and log.read_text().count("POST /v1") == 3, "a test")


def test_a_run_in_containers(suite):
    done = suite.run(*CONTAINED, "-m", "serve", f"--conformance-report={suite.report}")
    assert done.code == 0, done.all
    assert "CONFORMANT within `-m serve`" in " ".join(done.all.split())
    (engine,) = suite.read_report()["engines"]
    assert engine["argv"][:2] == ["docker", "run"]
    assert docker.ID in engine["argv"]
    assert engine["versions"]["image"] == f"{docker.IMAGE} ({docker.DIGEST})"
    assert engine["devices"] == [0]
    (name,) = (it.partition("=")[2] for it in engine["argv"] if it.startswith("--name="))
    labels = [it.partition("=")[2] for it in engine["argv"] if it.startswith("--label=")]
    assert "pytest-qwenvl.deployment=alpha/serve-1npu" in labels
    assert f"pytest-qwenvl.image={docker.IMAGE}" in labels
    assert ["rm", "--force", name] in calls(suite)
    assert containers(suite) == []
    assert "Application startup complete" in Path(engine["log"]).read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--launcher=container",), "--launcher=container: name the image with --image"),
        (("--image=stand-in:1",), "no launcher was given"),
        ((*CONTAINED, "--container-runtime=crio"), "needs one of docker, podman"),
        ((*CONTAINED, "--endpoint=http://127.0.0.1:1"), "an attached server is not started here"),
        (
            ("--launcher=container", "--image=absent:1"),
            "--image absent:1: docker has no such image (Error response from daemon: No such "
            "image: absent:1), and the suite pulls none; get it with `docker pull absent:1`",
        ),
    ],
)
def test_what_cannot_be_asked_for(suite, arguments, said):
    suite.run(*arguments).assert_usage_error(said)
    assert not [call for call in calls(suite) if call[0] == "run"]


def test_a_daemon_that_cannot_be_reached(suite):
    (suite.folder / "docker-state" / "down").touch()
    suite.run(*CONTAINED).assert_usage_error(
        "--launcher=container: docker is installed but does not work: Cannot connect to the "
        "Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?; start it"
    )


def test_a_runtime_that_is_not_installed(suite):
    suite.environment["PATH"] = str(suite.folder / "empty")
    suite.run(*CONTAINED).assert_usage_error("docker is not installed, or not on PATH")


def test_only_collecting_asks_nobody(suite):
    (suite.folder / "docker-state" / "down").touch()
    assert suite.run(*CONTAINED, "--collect-only").code == 0
    assert calls(suite) == []


def test_an_image_without_the_interpreter(suite):
    done = suite.run(*CONTAINED, f"--engine-python={suite.folder / 'absent'}", "-m", "serve")
    done.assert_usage_error(f"{suite.folder / 'absent'} in image {docker.IMAGE}")
    assert containers(suite) == []


def test_a_refused_device(suite):
    (suite.folder / "docker-state" / "no-device").touch()
    done = suite.run(*CONTAINED, "-m", "serve", f"--conformance-report={suite.report}")
    assert done.code == 1, done.all
    result = {it["requirement"]: it for it in suite.read_report()["results"]}["QVL-SRV-001"]
    assert result["outcome"] == "FAIL"
    assert "ended with exit code 125 of docker, which said: docker: Error" in result["reason"]
    assert '"/dev/davinci0": no such file or directory' in result["reason"]
    assert "the container was refused a device" in result["reason"]
    assert containers(suite) == []


def test_options_that_are_refused(suite):
    done = suite.run(*CONTAINED, "--container-option=--nonsense", "-m", "serve")
    done.assert_usage_error(
        f"image {docker.IMAGE} could not be run to ask its {suite.python} what it has: docker "
        "said 'unknown flag: --nonsense'"
    )


def test_a_daemon_that_dies_in_mid_run(suite):
    suite.profile("alpha", "silent-on-describe")
    run = Running(suite, *CONTAINED, "-m", "serve", f"--conformance-report={suite.report}")
    try:
        wait_for_a_test(run)
        (name,) = containers(suite)
        (suite.folder / "docker-state" / "down").touch()
        pid = int((suite.folder / "docker-state" / f"{name}.pid").read_text())
        os.kill(pid, 9)
        run.process.wait(120)
        said = " ".join(run.log.read_text().split())
        assert "docker: unexpected EOF" in said
        assert f"the container {name} could not be removed" in said
        assert f"Remove it by hand: docker rm --force {name}" in said
    finally:
        run.end()


def test_killed_pytest_leaves_no_container(suite):
    suite.profile("alpha", "silent-on-describe")
    run = Running(suite, *CONTAINED, "-m", "serve", f"--conformance-report={suite.report}")
    try:
        wait_for_a_test(run)
        (name,) = containers(suite)
        run.kill()
        wait_until(lambda: containers(suite) == [], "the end of the container")
        wait_until(lambda: ["rm", "--force", name] in calls(suite), "the farewell")
        wait_until(lambda: suite.processes() == [], "the end of its processes")
    finally:
        run.end()
