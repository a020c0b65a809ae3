from __future__ import annotations

import re

import pytest

from pytest_qwenvl.engines.command import engine_arguments, engine_environment
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.profile_loading import load_profiles
from pytest_qwenvl.version_binding import EngineVersions, resolve
from tests.engines.support import make_profile
from tests.stand_in_engine.install import write_profile

OLD = EngineVersions("0.23.0", "0.23.0")
NEW = EngineVersions("0.32.0+cpu", None)


@pytest.mark.parametrize(
    ("binding", "versions", "kept"),
    [
        ({"value": 1, "vllm": ">=0.25"}, NEW, True),
        ({"value": 1, "vllm": ">=0.25"}, OLD, False),
        ({"value": 1, "vllm": "==0.32.0"}, NEW, True),  # a local version is the version it is of
        ({"value": 1, "vllm": ">=0.20,<0.25"}, OLD, True),
        ({"value": 1, "vllm": "<0.25", "vllm_ascend": ">=0.23"}, OLD, True),
        ({"value": 1, "vllm": "<0.25", "vllm_ascend": ">0.23"}, OLD, False),
        ({"value": 1, "vllm_ascend": ">=0"}, NEW, False),  # not installed
        ({"value": 1, "vllm_ascend": ">=0.25"}, EngineVersions("0.25.1", "0.25.1rc1"), True),
        ({"value": 1, "vllm_ascend": ">=0.23"}, EngineVersions("0.23.0", "0.23.0rc1"), False),
    ],
)
def test_a_binding_holds_for_its_range(binding, versions, kept):
    assert resolve({"name": binding}, versions, "here") == ({"name": 1} if kept else {})


def test_the_first_binding_that_holds_counts():
    bound = {"name": [{"value": "a", "vllm": "<0.25"}, {"value": "b", "vllm": ">=0.2"}]}
    assert resolve(bound, OLD, "here") == {"name": "a"}
    assert resolve(bound, NEW, "here") == {"name": "b"}


def test_keys_inside_a_table_are_bound_one_by_one():
    settings = {
        "additional_config": {
            "enable_flashcomm1": {"value": True, "vllm_ascend": "<0.24"},
            "ascend_compilation_config": {"enable_npugraph_ex": False},
        }
    }
    assert resolve(settings, OLD, "here") == {
        "additional_config": {
            "enable_flashcomm1": True,
            "ascend_compilation_config": {"enable_npugraph_ex": False},
        }
    }
    assert resolve(settings, NEW, "here") == {
        "additional_config": {"ascend_compilation_config": {"enable_npugraph_ex": False}}
    }


def test_unknown_versions_matter_to_bound_settings_only():
    assert resolve({"name": [1, 2]}, None, "here") == {"name": [1, 2]}
    with pytest.raises(UsageProblem, match=r"my file\.name: .*vllm <1 only.*--vllm\b"):
        resolve({"name": {"value": 1, "vllm": "<1"}}, None, "my file")
    with pytest.raises(UsageProblem, match="'of today' is no version"):
        resolve({"name": {"value": 1, "vllm": "<1"}}, EngineVersions("of today"), "here")


def test_where_the_deployments_binding_does_not_hold_the_profiles_value_does():
    engine = {"npu": {"arguments": {"max_num_seqs": 16}, "environment": {"A": "1"}}}
    deployment = {
        "name": "serve-1npu",
        "mode": "serve",
        "npus": 1,
        "images": 3,
        "arguments": {"max_num_seqs": {"value": 30, "vllm": ">=0.25"}},
        "environment": {
            "A": {"value": "2", "vllm": ">=0.25"},
            "B": {"value": "1", "vllm_ascend": "<1"},
        },
    }
    profile = make_profile(engine=engine, deployments=[deployment])
    (one,) = profile.deployments

    def environment(versions: EngineVersions) -> tuple[str | None, str | None]:
        found = engine_environment(
            profile, one, "npu", devices=(0,), modelscope=False, versions=versions
        )
        return found.get("A"), found.get("B")

    assert engine_arguments(profile, one, "npu", OLD)["max_num_seqs"] == 16
    assert engine_arguments(profile, one, "npu", NEW)["max_num_seqs"] == 30
    assert environment(OLD) == ("1", "1")
    assert environment(NEW) == ("2", None)


@pytest.mark.parametrize(
    ("table", "key", "said"),
    [
        (
            'arguments]\nmax_num_seqs = { value = 1, vlm = ">=1" }',
            "deployments[0].arguments.max_num_seqs",
            "unknown key 'vlm' in a value bound to versions; did you mean 'vllm'?",
        ),
        (
            'arguments]\nmax_num_seqs = { valu = 1, vllm = ">=1" }',
            "deployments[0].arguments.max_num_seqs",
            "did you mean 'value'?",
        ),
        (
            'arguments]\nmax_num_seqs = { vllm = ">=1" }',
            "deployments[0].arguments.max_num_seqs",
            "needs the key 'value'",
        ),
        (
            "arguments]\nmax_num_seqs = { value = 1 }",
            "deployments[0].arguments.max_num_seqs",
            "needs a range",
        ),
        (
            'arguments]\nmax_num_seqs = { value = 1, vllm = "0.25" }',
            "deployments[0].arguments.max_num_seqs",
            "vllm = '0.25' is no range of versions",
        ),
        (
            'arguments]\nadditional_config = { a = { value = 1, vllm_ascend = "" } }',
            "deployments[0].arguments.additional_config",
            "a: vllm_ascend = '' is no range",
        ),
        (
            'environment]\nA = { value = 1, vllm = ">=1" }',
            "deployments[0].environment.A",
            "should be a string, or a table",
        ),
        (
            'environment]\nA = { velue = "1" }',
            "deployments[0].environment.A",
            "unknown key 'velue'",
        ),
        ("environment]\nA = []", "deployments[0].environment.A", "should be a string"),
        ("environment]\nA = 1", "deployments[0].environment.A", "should be a string"),
    ],
)
def test_a_binding_that_is_none_is_named(tmp_path, table, key, said):
    file = write_profile(tmp_path / "profiles", "mine", tmp_path / "weights")
    text = file.read_text()
    name = table.partition("]")[0]
    before = "[deployments.arguments]\n"
    after = f"[deployments.{table}\n" if name == "arguments" else f"[deployments.{table}\n{before}"
    assert text.count(before) == 1
    file.write_text(text.replace(before, after))
    with pytest.raises(UsageProblem, match=re.escape(f"{file}: {key}: ")) as caught:
        load_profiles([file.parent])
    assert said in str(caught.value)
