"""The compatibility table, and the version files of CANN and driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_qwenvl.errors import InconclusiveError, UsageProblem
from pytest_qwenvl.preflight.driver_stack import cann_version
from pytest_qwenvl.preflight.table import begins_with, in_range, load_table
from tests.preflight.planted import CANN, SUITE, PlantedHost

TABLE = load_table(SUITE / "compatibility.toml")


@pytest.mark.parametrize(
    ("ascend", "vllm"),
    [("0.14.0rc1", "==0.14.1"), ("0.22.1rc1", "==0.22.1"), ("v0.23.0", "==0.23.0")],
)
def test_versions_are_looked_up_as_pairs(ascend, vllm):
    assert TABLE.release_of(ascend).vllm == vllm


@pytest.mark.parametrize("ascend", ["0.23.1", "0.24.0rc1", "0.23.0.dev5+gabc", "nonsense"])
def test_a_release_that_is_not_there_follows_from_no_neighbour(ascend):
    with pytest.raises(InconclusiveError, match="has no vllm-ascend"):
        TABLE.release_of(ascend)


@pytest.mark.parametrize(
    ("cann", "driver", "supported"),
    [
        ("9.1.0", "25.2.1", True),
        ("9.1.0", "25.0.rc1.1", False),
        ("9.0.1", "25.0.rc1.1", True),
        ("9.1.0", "26.0.RC1", True),
        ("9.1.0", "26.0.rc2", True),
        ("9.1.0", "27.0.rc1", False),
        ("9.1.0", "25.20", False),
        ("8.5.0", "26.1.0", False),
        ("8.5.2", "26.1.0", True),
        ("9.1.0", "24.1.0", False),
    ],
)
def test_drivers_of_a_cann(cann, driver, supported):
    drivers = TABLE.drivers_of(cann).drivers
    assert any(begins_with(driver, it) for it in drivers) is supported


def test_no_drivers_known():
    with pytest.raises(InconclusiveError, match=r"no drivers for CANN 8\.3\.RC2"):
        TABLE.drivers_of("8.3.RC2")


@pytest.mark.parametrize(
    ("version", "allowed", "inside"),
    [
        ("2.10.0+cpu", "==2.10.0", True),
        ("2.10.0.post4", "==2.10.0", False),
        ("2.9.0.post1+git4c901a4", "==2.9.0.post1", True),
        ("0.24.0rc1", ">=0.23", True),
        ("3.13.1", ">=3.10,<3.13", False),
        ("", "==1.0", False),
    ],
)
def test_ranges(version, allowed, inside):
    assert in_range(version, allowed) is inside


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('vllm = "==0.23.0"', 'vllm = "0.23.0"', "release[0].vllm: '0.23.0' is no range"),
        ('cann = ["9.1.0"]', "cann = []", "release[0].cann: "),
        ('name = "a2"', 'name = "a9"', "hardware[0].name"),
        ('variable = "VLLM_USE_V1"', 'varaible = "VLLM_USE_V1"', "setting[4]"),
        ("[disk]", "[disc]", "disk: Field required"),
        ("[[release]]", "[[release]", "cannot be read: "),
    ],
)
def test_a_broken_table_is_named(tmp_path, before, after, said):
    text = (SUITE / "compatibility.toml").read_text()
    assert before in text
    path = tmp_path / "compatibility.toml"
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(UsageProblem) as caught:
        load_table(path)
    assert f"{path}: {said}" in str(caught.value)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UsageProblem, match="no such file"):
        load_table(tmp_path / "compatibility.toml")


@pytest.mark.parametrize(
    ("file", "text", "version"),
    [
        ("x86_64-linux/ascend_toolkit_install.info", "version=8.5.0\ninnerversion=V100\n", "8.5.0"),
        ("ascend_toolkit_install.info", "package_name=A\nVersion=9.0.0\n", "9.0.0"),
        ("version.cfg", "# version: 1.0\ntoolkit_running_version=[7.5.0:8.0.RC3]\n", "8.0.RC3"),
        ("version.cfg", "toolkit_installed_version=[8.3.RC2]\n", "8.3.RC2"),
        ("version.cfg", "# version: 1.0\nruntime_running_version=[7.5:8.0.RC3]\n", None),
    ],
)  # fmt: skip
def test_where_cann_writes_its_version(tmp_path: Path, file, text, version):
    planted = PlantedHost("a2", tmp_path)
    planted.path(CANN).unlink()
    home = "/opt/cann-latest"
    planted.environment["ASCEND_HOME_PATH"] = home
    planted.write(f"{home}/{file}", text)
    assert cann_version(planted.host())[0] == version
