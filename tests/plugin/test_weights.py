from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.profile import ModelProfile
from pytest_qwenvl.weights import find_weights
from tests.engines.support import make_profile
from tests.stand_in_engine.install import write_weights


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home")}


def profile(tmp_path: Path, **weights: str) -> ModelProfile:
    made = make_profile(weights=weights or {"huggingface": "Qwen/Tiny-1.5"})
    return made.model_copy(update={"path": tmp_path / "profiles" / "tiny.toml"})


def test_missing_weights_name_every_place(tmp_path, environment):
    (tmp_path / "root").mkdir()
    wanted = profile(tmp_path, huggingface="Qwen/Tiny", modelscope="qwen/Tiny-1.5", path="../w")
    found = find_weights(wanted, tmp_path / "root", environment)
    assert found.location is None
    assert found.reason.startswith("weights not at hand; looked in ")
    home = tmp_path / "home" / ".cache"
    for place in (
        tmp_path / "w",
        tmp_path / "root" / "Qwen" / "Tiny",
        tmp_path / "root" / "Tiny",
        tmp_path / "root" / "qwen" / "Tiny-1.5",
        tmp_path / "root" / "tiny",
        home / "huggingface" / "hub" / "models--Qwen--Tiny" / "snapshots",
        home / "modelscope" / "hub" / "models" / "qwen" / "Tiny-1.5",
        home / "modelscope" / "hub" / "models" / "qwen" / "Tiny-1___5",
    ):
        assert str(place) in found.looked_in


@pytest.mark.parametrize("place", ["Qwen/Tiny-1.5", "Tiny-1.5", "tiny"])
def test_layouts_under_the_root(tmp_path, environment, place):
    weights = write_weights(tmp_path / "root" / place)
    found = find_weights(profile(tmp_path), tmp_path / "root", environment)
    assert (found.location, found.reason) == (weights, "")


def test_what_travels_with_the_suite_comes_first(tmp_path, environment):
    own = write_weights(tmp_path / "own")
    write_weights(tmp_path / "root" / "tiny")
    wanted = profile(tmp_path, huggingface="Qwen/Tiny", path="../own")
    assert find_weights(wanted, tmp_path / "root", environment).location == own


def test_a_root_that_is_missing(tmp_path, environment):
    with pytest.raises(UsageProblem, match=r"--weights-root .*none: no such directory"):
        find_weights(profile(tmp_path), tmp_path / "none", environment)


@pytest.mark.parametrize("variable", ["HOME", "HF_HOME", "HF_HUB_CACHE"])
def test_the_hugging_face_cache_newest_first(tmp_path, environment, variable):
    below = {"HOME": ".cache/huggingface/hub", "HF_HOME": "hub", "HF_HUB_CACHE": ""}[variable]
    cache = tmp_path / "cache" / below / "models--Qwen--Tiny-1.5" / "snapshots"
    old, new = write_weights(cache / "b-old"), write_weights(cache / "a-new")
    os.utime(old, (1, 1))
    os.utime(new, (2, 2))
    environment[variable] = str(tmp_path / "cache")
    assert find_weights(profile(tmp_path), None, environment).location == new


@pytest.mark.parametrize("name", ["Tiny-1.5", "Tiny-1___5"])
@pytest.mark.parametrize("variable", ["HOME", "MODELSCOPE_CACHE"])
def test_the_modelscope_cache(tmp_path, environment, variable, name):
    below = {"HOME": ".cache/modelscope/hub", "MODELSCOPE_CACHE": ""}[variable]
    weights = write_weights(tmp_path / "cache" / below / "models" / "qwen" / name)
    environment[variable] = str(tmp_path / "cache")
    wanted = profile(tmp_path, modelscope="qwen/Tiny-1.5")
    assert find_weights(wanted, None, environment).location == weights


def reason(tmp_path: Path, environment: dict[str, str]) -> str:
    found = find_weights(profile(tmp_path), tmp_path / "root", environment)
    assert found.location == tmp_path / "root" / "tiny"
    return found.reason


def test_empty(tmp_path, environment):
    weights = tmp_path / "root" / "tiny"
    weights.mkdir(parents=True)
    assert (
        reason(tmp_path, environment) == f"{weights}: is empty; the weights were never copied there"
    )


def test_without_configuration(tmp_path, environment):
    weights = write_weights(tmp_path / "root" / "tiny")
    (weights / "config.json").unlink()
    assert reason(tmp_path, environment) == f"{weights}: has no config.json; it holds no model"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"x"', "{}", "\udcff"])
def test_a_broken_configuration(tmp_path, environment, content):
    weights = write_weights(tmp_path / "root" / "tiny")
    (weights / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    said = reason(tmp_path, environment)
    assert said.startswith(f"{weights / 'config.json'}: is broken (")
    assert said.endswith("copy it again")


def test_a_configuration_without_architecture(tmp_path, environment):
    weights = write_weights(tmp_path / "root" / "tiny")
    (weights / "config.json").write_text('{"architectures": []}')
    assert "names no architecture" in reason(tmp_path, environment)


def test_without_tensors(tmp_path, environment):
    weights = write_weights(tmp_path / "root" / "tiny")
    (weights / "model.safetensors").unlink()
    assert "has no *.safetensors" in reason(tmp_path, environment)


def test_missing_shards(tmp_path, environment):
    weights = write_weights(tmp_path / "root" / "tiny")
    shards = [f"model-{number}.safetensors" for number in range(5)]
    index = {"weight_map": {f"w{number}": shard for number, shard in enumerate(shards)}}
    (weights / "model.safetensors.index.json").write_text(json.dumps(index))
    (weights / shards[3]).touch()
    said = reason(tmp_path, environment)
    assert said == f"{weights}: 4 of 5 shards are missing: {', '.join(shards[:3])} …"
    for shard in shards:
        (weights / shard).touch()
    assert reason(tmp_path, environment) == ""


@pytest.mark.parametrize("content", ["", "{}", '{"weight_map": []}', "[]", '{"weight_map": 1}'])
def test_a_broken_index(tmp_path, environment, content):
    weights = write_weights(tmp_path / "root" / "tiny")
    (weights / "model.safetensors.index.json").write_text(content)
    assert "index.json: is broken (" in reason(tmp_path, environment)
