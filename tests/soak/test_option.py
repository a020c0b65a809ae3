"""``--soak``: what it takes, and that the group is left out without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.options import OPTIONS
from pytest_qwenvl.profile_loading import load_profiles

ROOT = Path(__file__).parents[2]
PROFILES = ROOT / "conformance" / "profiles"
OPTION = next(option for option in OPTIONS if option.flag == "--soak")


def collect(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "conformance/test_soak.py", "--collect-only", "-q"]
    return subprocess.run(
        [*command, "--backend=cpu", "--model=qwen3-vl-tiny", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("given", "minutes"), [("45", 45.0), ("0.5", 0.5), ("10080", 10080.0)])
def test_minutes(given: str, minutes: float) -> None:
    assert OPTION.parse(given) == minutes


@pytest.mark.parametrize("given", ["0", "-1", "an hour", "nan", "inf", "10081", ""])
def test_what_is_no_time(given: str) -> None:
    with pytest.raises(UsageProblem, match=r"--soak .*needs a number of minutes above 0"):
        OPTION.parse(given)


def test_without_a_time_nothing_is_soaked() -> None:
    done = collect()
    assert done.returncode == 4
    assert "say how many minutes with --soak" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def test_beside_other_groups_it_is_left_out() -> None:
    done = collect("conformance/test_serve.py")
    assert done.returncode == 0, done.stdout
    assert "test_serve.py" in done.stdout and "test_soak.py" not in done.stdout


def test_the_smallest_deployment_decides() -> None:
    done = collect("--soak=5")
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if "test_soak.py::" in line]
    # That of device memory applies to NPUs.
    assert len(lines) == 6
    assert all("qwen3-vl-tiny/serve-1npu" in line for line in lines)


def test_every_profile_says_how_it_is_soaked() -> None:
    profiles = load_profiles([PROFILES])
    assert len(profiles) >= 11
    for profile in profiles.values():
        assert profile.soak is not None, profile.name
        assert set(profile.soak.mix) == {
            *("text", "image", "images", "stream", "disconnect", "too_many", "malformed")
        }


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[soak.mix]\ntext = -1.0", "weights of 0 or more"),
        ("[soak.mix]\ntxet = 1.0", "mix"),
        ("[soak]\nsizes = [[64]]", "sizes"),
        ("[soak]\nsizes = [[0, 64]]", "sizes"),
        ("[soak]\nrate = 1.0", "did you mean"),
        ("[soak.memory]\nhourly = 0.0", "hourly"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "mine.toml").write_text(f'overlay = "qwen3-vl-tiny"\n{table}\n')
    with pytest.raises(UsageProblem, match=said) as caught:
        load_profiles([PROFILES, tmp_path])
    assert "mine.toml" in str(caught.value)
