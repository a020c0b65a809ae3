from __future__ import annotations

import textwrap

import pytest

from pytest_qwenvl.engines.declared_names import (
    additional_config_keys,
    declared_variables,
    read_names,
)
from tests.engines.recorded import recorded_names

ENVS = """
import os
from typing import Any
other: dict[str, Any] = {"NOT_THIS": 1}
environment_variables: dict[str, Any] = {
    # a comment
    "VLLM_ONE": lambda: os.getenv("VLLM_TWO", "x"),
    **other,
    "OTHER": lambda: None,
}
"""
CONFIG = """
class Section:
    def __init__(self, table, vllm_config):
        self.a = table.get("a", 1)

class Unpacked:
    def __init__(self, *, first: bool = True, **others):
        self.second = others.get("second")

class Defaults:
    _defaults = {"x": 1, "y": 2}
    def __init__(self, user=None):
        self.user = user

class Config:
    def __init__(self, vllm_config):
        additional_config = vllm_config.additional_config or {}
        section = additional_config.get("section", {})
        self.section = Section(section, vllm_config)
        unpacked = additional_config.get("unpacked", {})
        self.unpacked = Unpacked(**unpacked)
        defaults = additional_config.get("defaults", {})
        self.defaults = Defaults(defaults)
        self.flag = self._value(additional_config, "by_helper", "VLLM_FLAG")
        if "asked_for" in additional_config:
            self.got = vllm_config.additional_config["taken"]
        other.get("not_this")
"""


def test_variables_are_those_of_the_table():
    assert declared_variables(ENVS) == {"VLLM_ONE", "OTHER"}
    assert declared_variables("environment_variables = build()") == frozenset()


def test_keys_of_additional_config_however_they_are_read(tmp_path):
    package = tmp_path / "vllm_ascend"
    package.mkdir()
    (package / "config.py").write_text(CONFIG)
    (package / "other.py").write_text("def f(x):\n    return x.get('not_this_either')\n")
    assert additional_config_keys(package) == {
        "section": {"a"},
        "unpacked": {"first", "second"},
        "defaults": {"x", "y"},
        "by_helper": frozenset(),
        "asked_for": frozenset(),
        "taken": frozenset(),
    }


@pytest.mark.parametrize("broken", ["def f(:", None])
def test_a_source_that_cannot_be_read_is_no_ground_to_refuse(tmp_path, broken):
    for name in ("vllm", "vllm_ascend"):
        (tmp_path / name).mkdir()
    (tmp_path / "vllm" / "envs.py").write_text(textwrap.dedent(ENVS))
    assert read_names(tmp_path / "vllm", None) is not None
    if broken is not None:
        (tmp_path / "vllm_ascend" / "envs.py").write_text(broken)
    assert read_names(tmp_path / "vllm", tmp_path / "vllm_ascend") is None


def test_what_was_recorded_of_the_released_plugin():
    names = recorded_names("0.23.0", "0.23.0")
    assert {"VLLM_ASCEND_ENABLE_NZ", "VLLM_USE_MODELSCOPE"} <= names.variables
    assert "enable_flashcomm1" in names.additional_config
    assert "enable_npugraph_ex" in names.additional_config["ascend_compilation_config"]
    assert names.additional_config["eplb_config"] >= {"dynamic_eplb"}
