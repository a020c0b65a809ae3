"""Whose processor time it was while something was measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_qwenvl.measure.host_share import HostTimes, host_times, share_between

BUSY = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


def test_what_the_kernel_counts(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 400 50 6 7 80 9 9\ncpu0 1 2 3 4 5 6 7 8\n")
    times = host_times(stat)
    assert times is not None
    ticks = times.total / 693
    # Idle and waiting for disks are nobody's, and what guests had is in the first number already.
    assert times.used == pytest.approx((100 + 20 + 30 + 6 + 7) * ticks)
    assert times.stolen == pytest.approx(80 * ticks)
    assert times.own > 0


@pytest.mark.parametrize("text", ["", "cpu 1 2 3\n", "cpu a b c d e f g h\n", "procs 1\n"])
def test_a_kernel_that_says_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "stat").write_text(text)
    assert host_times(tmp_path / "stat") is None
    assert host_times(tmp_path / "none") is None


def test_a_child_that_ended_is_ones_own() -> None:
    before = host_times()
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    after = host_times()
    assert before is not None and after is not None
    assert after.own - before.own >= 0.25


def test_shares() -> None:
    before = HostTimes(total=100, used=50, stolen=1, own=10)
    share = share_between(before, HostTimes(total=120, used=65, stolen=2, own=15))
    assert share is not None
    assert (share.others, share.stolen) == (0.5, 0.05)
    # Whole ticks: what is one's own may look like more than all there was.
    share = share_between(before, HostTimes(total=120, used=60, stolen=1, own=20.5))
    assert share is not None and share.others == 0.0
    assert share_between(before, before) is None
    assert share_between(None, before) is None
    assert share_between(before, None) is None
