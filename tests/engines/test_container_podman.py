"""Containers of a real podman, with the stand-in engine inside, and every way they can end."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.engines.podman import IMAGE, left, need_podman, options, podman
from tests.engines.support import wait_until
from tests.plugin.suite import Running, Suite

LOG = "alpha/serve-1npu/server.log"


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[Suite]:
    need_podman()
    suite = Suite(tmp_path)
    suite.profile()
    # Where podman keeps a user's images.
    suite.environment["HOME"] = os.environ.get("HOME", "/")
    yield suite
    for name in (it for it in left(tmp_path) if it.startswith("qwenvl-")):
        podman("rm", "--force", name)


def contained(suite: Suite, *further: str) -> list[str]:
    given = [f"--container-option={it}" for it in options(suite.folder)]
    return [
        "--launcher=container",
        "--container-runtime=podman",
        f"--image={IMAGE}",
        *given,
        *further,
        "-m",
        "serve",
        f"--conformance-report={suite.report}",
    ]


@pytest.fixture
def running(suite: Suite) -> Iterator[Running]:
    """A run whose engine is busy with a request that it never answers."""
    suite.profile("alpha", "silent-on-describe")
    running = Running(suite, *contained(suite))
    try:
        # Two requests tell that it is ready, the third is the first test's.
        log = suite.report / "engines" / LOG
        wait_until(lambda: log.exists() and log.read_text().count("POST /v1") == 3, "a test")
        yield running
    finally:
        running.end()


def nothing_left(suite: Suite) -> None:
    wait_until(lambda: not left(suite.report), "the end of every container and process")


def process(running: Running, part: str) -> psutil.Process:
    """The one process of the run whose command line has this part."""
    name = str(running.suite.report)
    found = []
    for one in psutil.process_iter(["cmdline"]):
        line = " ".join(one.info["cmdline"] or ())
        if part in line and (name in line or part != "container_init.py"):
            found.append(one)
    own = psutil.Process(running.process.pid)
    family = {own.pid, *(child.pid for child in own.children(recursive=True))}
    found = [one for one in found if one.pid in family or one.ppid() in family]
    assert len(found) == 1, (part, found)
    return found[0]


def test_a_run(suite):
    done = suite.run(*contained(suite, "--container-option=--device=/dev/null:/dev/davinci7"))
    assert done.code == 0, done.all
    (engine,) = suite.read_report()["engines"]
    assert engine["argv"][:2] == ["podman", "run"]
    assert engine["versions"]["image"].startswith(f"{IMAGE} (")
    assert "Application startup complete" in Path(engine["log"]).read_text()
    nothing_left(suite)


def test_an_image_that_is_not_there(suite):
    done = suite.run("--launcher=container", "--container-runtime=podman", "--image=absent:1")
    done.assert_usage_error("--image absent:1: podman has no such image", "`podman pull absent:1`")


def test_a_device_that_is_not_there(suite):
    done = suite.run(*contained(suite, "--container-option=--device=/dev/absent"))
    done.assert_usage_error(f"image {IMAGE} could not be run", "/dev/absent")
    nothing_left(suite)


def test_an_engine_that_fails(suite):
    suite.profile("alpha", "exits-1")
    done = suite.run(*contained(suite))
    assert done.code == 1
    result = {it["requirement"]: it for it in suite.read_report()["results"]}["QVL-SRV-001"]
    assert "ended with exit code 1 before it was ready" in result["reason"]
    nothing_left(suite)


def test_an_engine_with_a_family_that_ignores_everything(suite):
    suite.profile("alpha", "has-family")
    assert suite.run(*contained(suite)).code == 0
    nothing_left(suite)


def test_ctrl_c(running):
    assert running.interrupt() == 2
    nothing_left(running.suite)


def test_killed_pytest(running):
    assert left(running.suite.report)
    running.kill()
    nothing_left(running.suite)


def test_killed_pytest_and_guardian(running):
    # Nobody is left to remove anything: the container sees that nobody listens.
    guardian = process(running, "guardian.py")
    os.kill(guardian.pid, signal.SIGSTOP)
    running.kill()
    os.kill(guardian.pid, signal.SIGKILL)
    nothing_left(running.suite)


def test_killed_guardian(running):
    process(running, "guardian.py").kill()
    assert running.process.wait(120) == 1
    assert "is gone: it ended with signal 9" in " ".join(running.log.read_text().split())
    nothing_left(running.suite)


@pytest.mark.parametrize(
    ("part", "how"),
    [
        ("podman", "it ended with signal 9 .SIGKILL. of podman"),
        # Podman itself may notice, or not.
        (
            "conmon",
            "(its container ended, and podman|it ended with exit code 127 of podman)",
        ),
    ],
)
def test_killed_container_engine(running, part, how):
    guardian = process(running, "guardian.py")
    if part == "conmon":
        (name,) = [it for it in left(running.suite.report) if it.startswith("qwenvl-")]
        (found,) = json.loads(podman("inspect", name).stdout)
        pid = int(Path(found["ConmonPidFile"]).read_text())
    else:
        (pid,) = [it.pid for it in guardian.children() if "podman" in it.name()]
    os.kill(pid, signal.SIGKILL)
    assert running.process.wait(120) == 1
    said = " ".join(running.log.read_text().split())
    assert re.search(f"FAIL QVL-SRV-002 .* the engine of alpha is gone: {how}", said), said
    assert "could not be removed" not in said
    assert "Traceback" not in said
    nothing_left(running.suite)
