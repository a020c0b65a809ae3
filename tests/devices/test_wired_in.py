"""A whole pytest on a played host, as far as it goes without weights."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fixtures.hosts.playing import PlayedHost
from tests.engines.support import PATIENCE


def run_pytest(host: PlayedHost, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "conformance"]
    environment = {**os.environ, **host.environment}
    return subprocess.run(
        [*argv, *options], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.parametrize(("host", "count"), [("a3-16x910c", 16), ("a2-8x910b3", 8)])
def test_more_npus_than_the_host_shows(tmp_path, host, count):
    done = run_pytest(PlayedHost(host, tmp_path), "--npus", str(count + 1))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"--npus {count + 1}: this host has {count} visible NPUs" in done.stderr + done.stdout


def test_a_host_that_cannot_be_read_is_a_usage_error(tmp_path):
    host = PlayedHost("a3-16x910c", tmp_path)
    host.inject(commands={"info": "dcmi"})
    done = run_pytest(host)
    said = done.stderr + done.stdout
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "dcmi module initialize failed. ret is -8005" in said
    assert "this looks like an Ascend host" in said
    assert "Traceback" not in said
